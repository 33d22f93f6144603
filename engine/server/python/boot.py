import os, sys, types, pyspark
pipe = os.fdopen(os.dup(0), "rb", 65536)
module = types.ModuleType("tidemill_worker")
sys.modules[module.__name__] = module
source = pipe.read(int.from_bytes(pipe.read(4), "big"))
exec(compile(source, os.path.join(os.path.dirname(pyspark.__file__), "tidemill_worker.py"), "exec"), module.__dict__)
module.main(sys.argv[1], pipe)

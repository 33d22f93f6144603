"""Runs PySpark's own workers over the pipes of this process, and adds the functions that PySpark feeds with pickled rows.

Comes in: the name of the worker's module and what that worker reads. Goes out: what it writes. What user code prints goes
to the standard error, so that it cannot get between the messages. The rows of plain functions and of foreach come as
Arrow batches and become the Python values that PySpark's worker would have unpickled; what plain functions return becomes
what the JVM makes of it, where NULL stands for a value of another type.
"""

import array
import datetime
import decimal
import importlib
import os
import sys

from pyspark.serializers import CPickleSerializer, Serializer
from pyspark.sql.conversion import ArrowTableToRowsConversion
from pyspark.sql.pandas.serializers import ArrowStreamSerializer
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    ByteType,
    DateType,
    DayTimeIntervalType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    NullType,
    ShortType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
    UserDefinedType,
    _create_row,
    _parse_datatype_json_string,
)
from pyspark.util import fail_on_stopiteration


def main(name, pipe):
    out = os.fdopen(os.dup(1), "wb", 65536)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    worker = importlib.import_module(name)
    try:
        # The engine closes the pipe when it needs this process no longer.
        while pipe.peek(1):
            worker.main(pipe, out)
            out.flush()
            if name != "pyspark.worker":
                break
    finally:
        try:
            out.flush()
        except OSError:
            os._exit(1)


class Columns(Serializer):
    """Arrow batches as (number of rows, columns of Python values)."""

    def __init__(self, schema):
        self.names = schema.names
        self.converters = [
            ArrowTableToRowsConversion._create_converter(field.dataType, none_on_identity=True, binary_as_bytes=True)
            for field in schema.fields
        ]

    def load_stream(self, stream):
        for batch in ArrowStreamSerializer().load_stream(stream):
            columns = []
            for column, convert in zip(batch.itercolumns(), self.converters):
                values = ArrowTableToRowsConversion._to_pylist(column)
                columns.append(values if convert is None else [convert(value) for value in values])
            yield batch.num_rows, columns


class Rows(Columns):
    """Arrow batches as rows."""

    def load_stream(self, stream):
        for count, columns in super().load_stream(stream):
            for values in zip(*columns) if columns else [()] * count:
                yield _create_row(self.names, values)


class Nothing(Serializer):
    """The output of a function that is called for what it does."""

    def dump_stream(self, iterator, stream):
        for _ in iterator:
            pass


def foreach(command, schema):
    """What NON_UDF runs for `DataStreamWriter.foreach`: the user's function over the rows of a batch."""
    function, profiler, _, _ = CPickleSerializer().loads(command)
    return function, profiler, Rows(_parse_datatype_json_string(schema)), Nothing()


def plain(command, schema, keywords):
    """What NON_UDF runs for SQL_BATCHED_UDF: the user's function over each row of arguments."""
    import pyarrow

    function, returned = CPickleSerializer().loads(command)
    function = fail_on_stopiteration(function)
    internal = returned.toInternal if returned.needConversion() else None
    accept = acceptor(returned)
    arrow_type = to_arrow_type(returned, timezone="UTC")
    positional = len(_parse_datatype_json_string(schema).fields) - len(keywords)

    def call(values):
        result = function(*values[:positional], **dict(zip(keywords, values[positional:])))
        return accept(result if internal is None else internal(result))

    def evaluate(_, batches):
        for count, columns in batches:
            rows = zip(*columns) if columns else [()] * count
            results = pyarrow.array([call(row) for row in rows], type=arrow_type)
            yield pyarrow.RecordBatch.from_arrays([results], ["_0"])

    return evaluate, None, Columns(_parse_datatype_json_string(schema)), ArrowStreamSerializer(write_start_stream=True)


def acceptor(data_type):
    """What the JVM makes of a value that a plain function returned for `data_type`: None unless the value is of a type that it takes."""
    if isinstance(data_type, UserDefinedType):
        return acceptor(data_type.sqlType())
    for kind, bits in ((ByteType, 8), (ShortType, 16), (IntegerType, 32), (LongType, 64)):
        if isinstance(data_type, kind):
            return integer(bits)
    if isinstance(data_type, (DateType, TimestampType, TimestampNTZType, DayTimeIntervalType)):
        return integer(32 if isinstance(data_type, DateType) else 64)
    if isinstance(data_type, BooleanType):
        return lambda value: value if type(value) is bool else None
    if isinstance(data_type, (FloatType, DoubleType)):
        return lambda value: value if type(value) is float else None
    if isinstance(data_type, StringType):
        return lambda value: None if value is None else text(value)
    if isinstance(data_type, BinaryType):
        return binary
    if isinstance(data_type, DecimalType):
        return decimals(data_type.precision, data_type.scale)
    if isinstance(data_type, ArrayType):
        element = acceptor(data_type.elementType)
        return lambda value: [element(item) for item in value] if type(value) in (list, tuple, array.array) else None
    if isinstance(data_type, MapType):
        return maps(acceptor(data_type.keyType), acceptor(data_type.valueType))
    if isinstance(data_type, StructType):
        return structs(data_type.names, [acceptor(field.dataType) for field in data_type.fields])
    if isinstance(data_type, NullType):
        return lambda value: None
    raise TypeError(f"a plain Python function cannot return {data_type.simpleString()}")


def integer(bits):
    half = 1 << (bits - 1)

    # Java narrows a Long by its low bits and has nothing to do with a BigInteger.
    def accept(value):
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            return None
        return (value + half) % (2 * half) - half

    return accept


def binary(value):
    if type(value) is str:
        return value.encode("utf-8")
    return bytes(value) if type(value) in (bytes, bytearray) else None


def decimals(precision, scale):
    unit = decimal.Decimal(1).scaleb(-scale)
    context = decimal.Context(prec=100, rounding=decimal.ROUND_HALF_UP)

    def accept(value):
        if type(value) is not decimal.Decimal or not value.is_finite():
            return None
        rounded = value.quantize(unit, context=context)
        if rounded.adjusted() >= precision - scale and rounded:
            raise ArithmeticError(
                f"[NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION] {value} cannot be represented as Decimal({precision}, {scale})"
            )
        return rounded

    return accept


def maps(key, value):
    def accept(result):
        if type(result) is not dict:
            return None
        pairs = [(key(k), value(v)) for k, v in result.items()]
        if any(k is None for k, _ in pairs):
            raise ValueError(f"[NULL_MAP_KEY] the function returned a map with a key that is NULL: {result!r}")
        return pairs

    return accept


def structs(names, fields):
    def accept(result):
        if type(result) not in (list, tuple):
            return None
        if len(result) != len(fields):
            raise ValueError(
                "[STRUCT_ARRAY_LENGTH_MISMATCH] Input row doesn't have expected number of values required by the schema. "
                f"{len(fields)} fields are required while {len(result)} values are provided."
            )
        return {name: field(item) for name, field, item in zip(names, fields, result)}

    return accept


def text(value):
    """A value as Java writes it. Bytes, tuples, dates and times, of which Java writes the object's identity or its fields, are written as
    Python does."""
    if type(value) is str:
        return value
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float:
        return double(value)
    if type(value) in (list, set, frozenset):
        return "[" + ", ".join(map(text, value)) + "]"
    if type(value) is dict:
        return "{" + ", ".join(f"{text(k)}={text(v)}" for k, v in value.items()) + "}"
    if type(value) is datetime.timedelta:
        total = value.days * 86400 + value.seconds
        return (
            f"Timedelta: {value.days} days, {value.seconds} seconds, {value.microseconds} microseconds (total: {total} seconds)"
        )
    return str(value)


def double(value):
    """`Double.toString`."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return format(decimal.Decimal(repr(value)), "f") if "e" in repr(value) else repr(value)
    sign, digits, exponent = decimal.Decimal(repr(value)).as_tuple()
    point = exponent + len(digits) - 1
    tail = "".join(map(str, digits[1:])).rstrip("0")
    return f"{'-' if sign else ''}{digits[0]}.{tail or '0'}E{point}"

//! Which Python runs the functions.
//!
//! Comes in: the configuration `spark.pyspark.python` and the environment variable `PYSPARK_PYTHON`. Goes out: a program that was asked for its
//! versions. Fails: no such program, one without PySpark 4.3 and PyArrow, or another Python than the client's.

use crate::error::{Error, ErrorCode, Result};
use std::process::{Command, Stdio};

/// The PySpark whose protocol the workers speak.
const PYSPARK: &str = "4.3";
const PROBE: &str =
    "import sys, pyspark, pyarrow; print('tidemill', '%d.%d' % sys.version_info[:2], pyspark.__version__)";

/// A Python with PySpark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    program: String,
    version: String,
}

impl Interpreter {
    /// The Python of `spark.pyspark.python` where it is set, else of the environment variable `PYSPARK_PYTHON`, else `python3` on the path.
    ///
    /// It starts the program, which takes a moment.
    ///
    /// ```no_run
    /// use tidemill::server::python::Interpreter;
    /// let python = Interpreter::find(None)?;
    /// println!("{} is Python {}", python.program(), python.version());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorCode::PythonNotFound`] where it cannot be started or lacks PySpark 4.3 or PyArrow, with what it printed.
    pub fn find(configured: Option<&str>) -> Result<Self> {
        let (program, chosen) = match (configured, std::env::var("PYSPARK_PYTHON")) {
            (Some(program), _) if !program.is_empty() => (program.to_string(), "spark.pyspark.python"),
            (_, Ok(program)) if !program.is_empty() => (program, "the environment variable PYSPARK_PYTHON"),
            _ => ("python3".to_string(), "the path"),
        };
        Self::probe(program, chosen)
    }

    fn probe(program: String, chosen: &str) -> Result<Self> {
        let refuse = |why: String| {
            Error::new(
                ErrorCode::PythonNotFound,
                format!(
                    "Python functions need a Python with PySpark {PYSPARK}, and {program:?} (from {chosen}) {why}; run \
                     `pip install \"pyspark[connect]=={PYSPARK}.*\"` for it, or name another Python in the configuration \
                     spark.pyspark.python or the environment variable PYSPARK_PYTHON"
                ),
            )
        };
        let probed = Command::new(&program).args(["-c", PROBE]).stdin(Stdio::null()).output();
        let output = probed.map_err(|error| refuse(format!("cannot be started: {error}")))?;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let versions = said.lines().find_map(|line| line.strip_prefix("tidemill ")?.split_once(' '));
        match versions {
            Some((version, pyspark)) if pyspark.starts_with(&format!("{PYSPARK}.")) => {
                Ok(Self { program, version: version.to_string() })
            }
            Some((_, pyspark)) => Err(refuse(format!("has PySpark {pyspark}"))),
            None => Err(refuse(format!("has none ({}); it printed:\n{}", output.status, complained.trim_end()))),
        }
    }

    /// What is started.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Major and minor version, such as `3.11`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it can read what the client's Python `client` pickled.
    ///
    /// # Errors
    /// [`ErrorCode::PythonNotFound`] for another minor version.
    pub fn check(&self, client: &str) -> Result<()> {
        if client.is_empty() || client == self.version {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::PythonNotFound,
            format!(
                "[PYTHON_VERSION_MISMATCH] the client pickled its functions with Python {client}, and {:?}, which runs them, is Python {}; \
                 name a Python {client} in the configuration spark.pyspark.python or the environment variable PYSPARK_PYTHON",
                self.program, self.version
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_that_is_not_there() {
        let error = Interpreter::find(Some("no-such-python")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PythonNotFound);
        let text = error.to_string();
        assert!(text.contains("\"no-such-python\" (from spark.pyspark.python) cannot be started"), "{text}");
        assert!(text.contains("pip install \"pyspark[connect]==4.3.*\""), "{text}");
    }

    #[test]
    fn program_that_is_no_python() {
        let error = Interpreter::find(Some("false")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PythonNotFound);
        assert!(error.to_string().contains("has none (exit status: 1)"), "{error}");
    }

    #[test]
    fn another_python_than_the_clients() {
        let python = Interpreter { program: "python3".to_string(), version: "3.11".to_string() };
        assert!(python.check("3.11").is_ok());
        let error = python.check("3.9").unwrap_err();
        assert_eq!(error.code(), ErrorCode::PythonNotFound);
        assert!(
            error.to_string().contains("with Python 3.9, and \"python3\", which runs them, is Python 3.11"),
            "{error}"
        );
    }
}

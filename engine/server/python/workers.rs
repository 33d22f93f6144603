//! The workers of a session.
//!
//! Comes in: tasks. Goes out: what they return. A worker runs one task at a time and is used again; as many run as there are tasks. Fails:
//! no Python for them, what a task fails with, and every task once the session has ended.

use super::interpreter::Interpreter;
use super::process::{Killer, Process};
use super::task::Task;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::runtime::{Handle, RuntimeFlavor};

const MODULE: &str = "pyspark.worker";
/// Workers show tracebacks without PySpark's own frames, as Spark does unless told otherwise.
const ENVIRONMENT: &[(&str, &str)] = &[("SPARK_SIMPLIFIED_TRACEBACK", "1")];
/// Keys of the session's configuration that workers know.
const KEYS: &[&str] = &[
    "spark.sql.session.timeZone",
    "spark.sql.execution.arrow.maxRecordsPerBatch",
    "spark.sql.execution.arrow.maxBytesPerBatch",
    "spark.sql.execution.arrow.useLargeVarTypes",
    "spark.sql.execution.pandas.convertToArrowArraySafely",
    "spark.sql.execution.pyspark.binaryAsBytes",
    "spark.sql.execution.pythonUDF.arrow.concurrency.level",
    "spark.sql.execution.pythonUDF.pandas.intToDecimalCoercionEnabled",
    "spark.sql.execution.pythonUDF.pandas.preferIntExtensionDtype",
    "spark.sql.legacy.execution.pandas.groupedMap.assignColumnsByName",
    "spark.sql.legacy.execution.pythonUDF.pandas.conversion.enabled",
];

/// The Python workers of a session: started when they are needed, used again, and ended by [`stop`](Self::stop), or with the last copy of this.
///
/// ```no_run
/// use tidemill::server::python::Workers;
/// let workers = Workers::new(Some("/opt/python/bin/python3".to_string()));
/// // The configuration as it is when a function is made, which is what Spark sends with it.
/// let now = workers.with_configuration(|key| (key == "spark.sql.session.timeZone").then(|| "Asia/Tokyo".to_string()));
/// # drop(now);
/// workers.stop();
/// ```
#[derive(Clone)]
pub struct Workers {
    pool: Arc<Pool>,
    conf: Arc<BTreeMap<String, String>>,
}

struct Pool {
    configured: Option<String>,
    interpreter: Mutex<Option<Interpreter>>,
    state: Mutex<State>,
    tasks: AtomicI64,
    kept: usize,
}

#[derive(Default)]
struct State {
    stopped: bool,
    idle: Vec<Process>,
    busy: HashMap<i64, Killer>,
}

impl Workers {
    /// A pool without workers yet. `configured` is `spark.pyspark.python`; see [`Interpreter::find`].
    pub fn new(configured: Option<String>) -> Self {
        let pool = Pool {
            configured,
            interpreter: Mutex::default(),
            state: Mutex::default(),
            tasks: AtomicI64::new(0),
            kept: std::thread::available_parallelism().map_or(2, usize::from),
        };
        let conf = BTreeMap::from([("spark.sql.session.timeZone".to_string(), "UTC".to_string())]);
        Self { pool: Arc::new(pool), conf: Arc::new(conf) }
    }

    /// The same workers, with the session's configuration as `get` tells it for functions made from this copy.
    pub fn with_configuration(&self, get: impl Fn(&str) -> Option<String>) -> Self {
        let mut conf = BTreeMap::clone(&self.conf);
        conf.extend(KEYS.iter().filter_map(|key| Some((key.to_string(), get(key)?))));
        Self { pool: self.pool.clone(), conf: Arc::new(conf) }
    }

    /// The Python that the workers are, found when it is first asked for.
    ///
    /// # Errors
    /// As [`Interpreter::find`].
    pub fn interpreter(&self) -> Result<Interpreter> {
        let mut known = self.pool.interpreter.lock();
        if let Some(interpreter) = known.as_ref() {
            return Ok(interpreter.clone());
        }
        let found = blocking(|| Interpreter::find(self.pool.configured.as_deref()))?;
        Ok(known.insert(found).clone())
    }

    /// Ends all workers, also those that run something; what is run later fails.
    pub fn stop(&self) {
        let (idle, busy) = {
            let mut state = self.pool.state.lock();
            state.stopped = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.busy))
        };
        drop(idle);
        busy.values().for_each(Killer::kill);
    }

    /// The configuration that functions are run with.
    pub(super) fn conf(&self) -> &BTreeMap<String, String> {
        &self.conf
    }

    /// How many rows a worker is given at once.
    pub(super) fn rows_per_batch(&self) -> usize {
        let limit =
            self.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch").and_then(|text| text.parse::<i64>().ok());
        match limit.unwrap_or(10_000) {
            limit @ 1.. => usize::try_from(limit).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }

    /// A number for a task.
    pub(super) fn number(&self) -> i64 {
        self.pool.tasks.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs a task in a worker and waits for it.
    pub(super) fn run(&self, task: &Task<'_>, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        blocking(|| {
            let mut process = self.process(task.number)?;
            let outcome = task.run(&mut process, schema, batches);
            let mut state = self.pool.state.lock();
            state.busy.remove(&task.number);
            if state.stopped {
                drop(state);
                return Err(stopped());
            }
            let outcome = outcome?;
            if outcome.reusable && state.idle.len() < self.pool.kept {
                state.idle.push(process);
            }
            Ok(outcome.batches)
        })
    }

    /// A worker that has nothing to do, or a new one.
    fn process(&self, task: i64) -> Result<Process> {
        let idle = {
            let mut state = self.pool.state.lock();
            if state.stopped {
                return Err(stopped());
            }
            let idle = state.idle.pop();
            if let Some(process) = &idle {
                state.busy.insert(task, process.killer());
            }
            idle
        };
        if let Some(process) = idle {
            return Ok(process);
        }
        let process = Process::start(&self.interpreter()?, MODULE, ENVIRONMENT)?;
        let mut state = self.pool.state.lock();
        if state.stopped {
            return Err(stopped());
        }
        state.busy.insert(task, process.killer());
        Ok(process)
    }
}

fn stopped() -> Error {
    Error::new(ErrorCode::UserCode, "the session has ended, and with it the Python workers that ran its functions")
}

/// Does what may take long, without keeping a thread of Tokio from its other tasks.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

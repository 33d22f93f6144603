//! [`Session`]: the entry point. Holds configuration, the device and the queries; no state is global, so a process may
//! have several.

use crate::checkpoint::FailPoints;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrameReader, DataStreamReader, StreamingQueryManager};
use crate::functions::registry::FunctionRegistry;
use crate::sink::memory::MemoryTable;
use crate::sql::Catalog;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use tidemill_kernels::device::Device;

/// A session; clones are the same session.
///
/// ```
/// use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::builder().app_name("StreamingInterview").config("tidemill.device", "cpu").build().await?;
/// assert_eq!(session.conf().get("spark.app.name").as_deref(), Some("StreamingInterview"));
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    device: Mutex<Option<Device>>,
    streams: StreamingQueryManager,
    catalog: Catalog,
    functions: Mutex<Arc<FunctionRegistry>>,
    /// By name in lower case.
    memory_tables: Mutex<BTreeMap<String, MemoryTable>>,
    fail: FailPoints,
}

/// Registers functions in a session, for SQL, `expr()` and `call_function()`. A function takes the place of one of its name, also of
/// Spark's; frames that were made before keep the one they were made with.
///
/// ```
/// use std::sync::Arc;
/// use tidemill::arrow::array::{AsArray, Int64Array};
/// use tidemill::arrow::datatypes::{DataType, Int64Type};
/// use tidemill::datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
/// use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let collatz = create_udf("collatz", vec![DataType::Int64], DataType::Int64, Volatility::Immutable, Arc::new(|arguments| {
///     let numbers = ColumnarValue::values_to_arrays(arguments)?;
///     let next = |n: i64| if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
///     let steps: Int64Array = numbers[0].as_primitive::<Int64Type>().unary(next);
///     Ok(ColumnarValue::Array(Arc::new(steps)))
/// }));
/// session.udf().register(collatz);
/// let numbers = DataFrame::range(&session, 6, 8, 1)?;
/// let next = numbers.select([expr("collatz(id) + 1 AS a"), call_function("collatz", ["id"]).alias("b")])?;
/// assert_eq!(next.show_string(20, 20).await?.lines().nth(3), Some("|  4|  3|"));
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
pub struct UdfRegistration {
    session: Session,
}

impl UdfRegistration {
    /// Registers a function of a row's values, under its own name in any case.
    pub fn register(&self, function: ScalarUDF) {
        Arc::make_mut(&mut *self.session.inner.functions.lock()).register_udf(function);
    }

    /// Registers a function of a group's rows, under its own name in any case.
    pub fn register_udaf(&self, function: AggregateUDF) {
        Arc::make_mut(&mut *self.session.inner.functions.lock()).register_udaf(function);
    }
}

/// Builds a [`Session`].
#[derive(Default)]
pub struct SessionBuilder {
    settings: Vec<(String, String)>,
    fail: FailPoints,
}

impl Session {
    /// Starts to build a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// A session with the same device and functions of its own, the settings that `settings` gives, and no tables; as Spark's `newSession`.
    pub fn new_session(&self, settings: &BTreeMap<String, String>) -> Result<Session> {
        let config = Config::default();
        for (key, value) in settings {
            config.initialize(key, value)?;
        }
        Ok(self.beside(config, Catalog::default(), Arc::default(), BTreeMap::default()))
    }

    /// A session that begins with this one's settings, views and functions; what is changed in one later is not changed in the other. Tables
    /// are in both, whichever makes them. As Spark's `cloneSession`.
    pub fn clone_session(&self) -> Result<Session> {
        let config = Config::default();
        for (key, value) in self.conf().get_all() {
            config.initialize(&key, value)?;
        }
        let memory_tables = self.inner.memory_tables.lock().clone();
        Ok(self.beside(config, self.inner.catalog.clone(), self.functions(), memory_tables))
    }

    fn beside(
        &self,
        config: Config,
        catalog: Catalog,
        functions: Arc<FunctionRegistry>,
        memory_tables: BTreeMap<String, MemoryTable>,
    ) -> Session {
        let inner = Inner {
            config,
            device: Mutex::new(self.inner.device.lock().clone()),
            streams: StreamingQueryManager::default(),
            catalog,
            functions: Mutex::new(functions),
            memory_tables: Mutex::new(memory_tables),
            fail: self.inner.fail.clone(),
        };
        Session { inner: Arc::new(inner) }
    }

    /// The configuration: read and set by Spark's keys.
    pub fn conf(&self) -> &Config {
        &self.inner.config
    }

    /// Starts to describe a streaming source.
    pub fn read_stream(&self) -> DataStreamReader {
        DataStreamReader::new(self.clone())
    }

    /// Starts to describe a table.
    pub fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.clone())
    }

    /// The session's queries.
    pub fn streams(&self) -> &StreamingQueryManager {
        &self.inner.streams
    }

    /// Tables and views by name.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// Where functions of your own are registered.
    pub fn udf(&self) -> UdfRegistration {
        UdfRegistration { session: self.clone() }
    }

    /// The functions that texts and calls by name may use.
    pub(crate) fn functions(&self) -> Arc<FunctionRegistry> {
        self.inner.functions.lock().clone()
    }

    /// The table that a query of this name writes or wrote with `format("memory")`, by its name in any case.
    pub fn memory_table(&self, name: &str) -> Option<MemoryTable> {
        self.inner.memory_tables.lock().get(&name.to_lowercase()).cloned()
    }

    /// Names of the tables that queries write to memory.
    #[cfg(feature = "connect")]
    pub(crate) fn memory_table_names(&self) -> Vec<String> {
        self.inner.memory_tables.lock().values().map(|table| table.name().to_string()).collect()
    }

    /// Takes the name of a memory sink's table away; whether there was one.
    pub(crate) fn forget_memory_table(&self, name: &str) -> bool {
        self.inner.memory_tables.lock().remove(&name.to_lowercase()).is_some()
    }

    /// Keeps the table of a memory sink under its query's name, in place of that of an earlier query.
    pub(crate) fn keep_memory_table(&self, table: MemoryTable) {
        self.catalog().let_go(table.name());
        self.inner.memory_tables.lock().insert(table.name().to_lowercase(), table);
    }

    /// Stops every query of the session, and returns when they have stopped.
    pub async fn stop(&self) {
        futures::future::join_all(self.streams().active().iter().map(|query| query.stop())).await;
    }

    /// The device that kernels run on, opened at first use.
    pub(crate) fn device(&self) -> Result<Device> {
        let mut device = self.inner.device.lock();
        if let Some(open) = &*device {
            return Ok(open.clone());
        }
        let opened = Device::open(&self.conf().device()?)
            .map_err(|e| Error::caused_by(ErrorCode::DeviceNotFound, e.to_string(), e))?;
        *device = Some(opened.clone());
        Ok(opened)
    }

    pub(crate) fn fail_points(&self) -> FailPoints {
        self.inner.fail.clone()
    }
}

impl SessionBuilder {
    /// Names the application.
    pub fn app_name(self, name: &str) -> Self {
        self.config("spark.app.name", name)
    }

    /// Sets a configuration key.
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.settings.push((key.to_string(), value.to_string()));
        self
    }

    /// Names places in the commit protocol at which a test acts.
    #[cfg(feature = "failpoints")]
    pub fn fail_points(mut self, fail: FailPoints) -> Self {
        self.fail = fail;
        self
    }

    /// The session.
    ///
    /// # Errors
    /// A configuration value that its key cannot have; a device that was asked for and is not there.
    pub async fn build(self) -> Result<Session> {
        let config = Config::default();
        for (key, value) in &self.settings {
            config.initialize(key, value)?;
        }
        config.environment()?;
        config.settings(false)?;
        config.recent_progress()?;
        let inner = Inner {
            config,
            device: Mutex::new(None),
            streams: StreamingQueryManager::default(),
            catalog: Catalog::default(),
            functions: Mutex::default(),
            memory_tables: Mutex::default(),
            fail: self.fail,
        };
        let session = Session { inner: Arc::new(inner) };
        // Finding a GPU blocks for a moment.
        let opening = session.clone();
        tokio::task::spawn_blocking(move || opening.device()).await.map_err(|e| {
            Error::caused_by(ErrorCode::DeviceNotFound, format!("opening the device panicked: {e}"), e)
        })??;
        Ok(session)
    }
}

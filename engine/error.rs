//! The one error type of the public API: a stable code, a message that names the thing, the reason and the way out.
//!
//! Comes in: failures of every layer, converted at the layer's edge. Goes out: [`Error`], which is `Clone`, because a
//! query hands the same failure to everyone who waits for it. Codes are Spark's error classes where Spark has one.
#![doc = include_str!("errors.md")]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident => $text:literal $({ $($sub:ident)* })?,)*) => {
        /// What went wrong, as a stable name that programs may match on. `as_str` gives the text shown to people. Where Spark splits an
        /// error class further than programs want to tell apart, the code has [`ErrorCode::sub_conditions`], and [`Error::condition`]
        /// says which it was.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// The code as it is printed, in Spark's spelling where Spark has the code.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }

            /// What the code is split into: an error may say which of these it is, in [`Error::condition`].
            pub fn sub_conditions(self) -> &'static [&'static str] {
                match self { $(ErrorCode::$variant => &[$($(stringify!($sub),)*)?],)* }
            }

            /// Every code, for documentation and for the test that each is reachable.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];
        }
    };
}

error_codes! {
    /// A column name that the input does not have.
    UnresolvedColumn => "UNRESOLVED_COLUMN.WITH_SUGGESTION",
    /// A column name that more than one input column answers to.
    AmbiguousReference => "AMBIGUOUS_REFERENCE",
    /// An expression whose argument types do not fit.
    DatatypeMismatch => "DATATYPE_MISMATCH" {
        BINARY_OP_DIFF_TYPES CAST_WITHOUT_SUGGESTION DATA_DIFF_TYPES FILTER_NOT_BOOLEAN INPUT_SIZE_NOT_ONE INVALID_ARG_VALUE
        INVALID_JSON_SCHEMA NON_FOLDABLE_INPUT PARAMETER_CONSTRAINT_VIOLATION UNEXPECTED_INPUT_TYPE UNEXPECTED_NULL
        VALUE_OUT_OF_RANGE
    },
    /// A name below a struct that has no such field.
    FieldNotFound => "FIELD_NOT_FOUND",
    /// A column of a frame that is not part of the one it is used on.
    DataFrameColumn => "CANNOT_RESOLVE_DATAFRAME_COLUMN",
    /// A name given to an operation on columns by their names, which the frame does not have.
    UnresolvedFieldName => "UNRESOLVED_COLUMN_AMONG_FIELD_NAMES",
    /// A column to join by that one side does not have.
    UnresolvedUsingColumn => "UNRESOLVED_USING_COLUMN_FOR_JOIN",
    /// A condition of a join that is no boolean.
    JoinConditionType => "JOIN_CONDITION_IS_NOT_BOOLEAN_TYPE",
    /// An aggregate, a window function or a generator in a filter.
    InvalidWhereCondition => "INVALID_WHERE_CONDITION",
    /// A column beside aggregates that is neither grouped by nor aggregated.
    MissingAggregation => "MISSING_AGGREGATION",
    /// A column beside aggregates where nothing is grouped by.
    MissingGroupBy => "MISSING_GROUP_BY",
    /// An aggregate of an aggregate.
    NestedAggregate => "NESTED_AGGREGATE_FUNCTION",
    /// A number of rows to take or to skip that is below 0.
    NegativeLimit => "INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE",
    /// An expression that no analysis rule could plan.
    InvalidExpression => "INVALID_EXPRESSION",
    /// A window's or a watermark's duration that is not Spark's interval text.
    CannotParseInterval => "CANNOT_PARSE_INTERVAL",
    /// Any other interval that is not Spark's interval text, or is none for its use.
    InvalidIntervalFormat => "INVALID_INTERVAL_FORMAT" {
        ARITHMETIC_EXCEPTION INPUT_IS_EMPTY INVALID_FRACTION INVALID_UNIT MISSING_UNIT UNRECOGNIZED_NUMBER
    },
    /// A schema text that is not a DDL schema.
    ParseSyntaxError => "PARSE_SYNTAX_ERROR",
    /// A window or watermark on a column that is not a timestamp.
    EventTimeNotTimestamp => "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
    /// A column whose type a file format cannot hold.
    UnsupportedDataType => "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
    /// A column whose type cannot name directories.
    InvalidPartitionColumn => "INVALID_PARTITION_COLUMN_DATA_TYPE",
    /// A sink that would have no column left beside those that name directories.
    AllPartitionColumns => "ALL_PARTITION_COLUMNS_NOT_ALLOWED",
    /// A column that is named twice.
    ColumnAlreadyExists => "COLUMN_ALREADY_EXISTS",
    /// Two observations of one name with different results.
    DuplicatedMetricsName => "DUPLICATED_METRICS_NAME",
    /// An observation without a name.
    MetricsMissingName => "INVALID_OBSERVED_METRICS.MISSING_NAME",
    /// A second watermark over the same rows.
    RedefiningWatermark => "REDEFINING_WATERMARK",
    /// An output mode that is not append, update or complete.
    OutputModeInvalid => "STREAMING_OUTPUT_MODE.INVALID",
    /// An output mode that the operators of the query do not allow.
    OutputModeUnsupported => "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
    /// An output mode that the sink does not allow.
    OutputModeUnsupportedSink => "STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE",
    /// Something that Spark allows on a bounded table only, or that this version does not build.
    UnsupportedOperation => "UNSUPPORTED_STREAMING_OPERATION",
    /// `write_stream` on a frame that is a table.
    WriteStreamNotAllowed => "WRITE_STREAM_NOT_ALLOWED",
    /// `write` on a frame over a stream.
    CallOnStreamingDataset => "CALL_ON_STREAMING_DATASET_UNSUPPORTED",
    /// A save mode that is none.
    InvalidSaveMode => "INVALID_SAVE_MODE",
    /// A table that is written to where rows are already.
    PathAlreadyExists => "PATH_ALREADY_EXISTS",
    /// A format name that no source or sink answers to.
    DataSourceNotFound => "DATA_SOURCE_NOT_FOUND",
    /// A format whose code was left out of this build.
    KafkaNotEnabled => "KAFKA_DATA_SOURCE_NOT_ENABLED",
    /// A path on S3 in a build without the feature `s3`.
    S3NotEnabled => "S3_NOT_ENABLED",
    /// An object store that refuses the credentials it was given.
    StorageAccessDenied => "STORAGE_ACCESS_DENIED",
    /// An option that is missing, unknown to the source or sink, or has a value it cannot use.
    InvalidOption => "INVALID_OPTION",
    /// A query without a checkpoint, a memory table without a name, or a socket without a host or port.
    MissingOption => "REQUIRED_OPTION_NOT_SET",
    /// A table or view that the session does not know.
    TableNotFound => "TABLE_OR_VIEW_NOT_FOUND",
    /// A frame that is not kept in the session of a client that names it.
    DataFrameNotFound => "CONNECT_INVALID_PLAN.DATAFRAME_NOT_FOUND",
    /// A table or view that there is already.
    TableExists => "TABLE_OR_VIEW_ALREADY_EXISTS",
    /// A temporary view whose name something has already.
    TempViewExists => "TEMP_TABLE_OR_VIEW_ALREADY_EXISTS",
    /// A statement for tables on a view, or for views on a table.
    WrongObjectType => "WRONG_COMMAND_FOR_OBJECT_TYPE",
    /// A configuration key that is not known, was not set and has no default.
    ConfNotFound => "SQL_CONF_NOT_FOUND",
    /// A configuration value of another type than its key's.
    ConfValueType => "INVALID_CONF_VALUE.TYPE_MISMATCH",
    /// A configuration value outside the bounds of its key.
    ConfValueRequirement => "INVALID_CONF_VALUE.REQUIREMENT",
    /// A configuration value that is no time zone.
    ConfValueTimeZone => "INVALID_CONF_VALUE.TIME_ZONE",
    /// A configuration key that can be given to the session's builder only.
    ConfStatic => "CANNOT_MODIFY_STATIC_CONFIG",
    /// A configuration key of the cluster, which no session sets.
    ConfCore => "CANNOT_MODIFY_CONFIG",
    /// A source that the real-time trigger cannot read.
    RealTimeSource => "STREAMING_REAL_TIME_MODE.INPUT_STREAM_NOT_SUPPORTED",
    /// An operator or a sink that the real-time trigger cannot run.
    RealTimeOperator => "STREAMING_REAL_TIME_MODE.OPERATOR_OR_SINK_NOT_IN_ALLOWLIST",
    /// An interval that is too short for the real-time trigger.
    RealTimeInterval => "INVALID_STREAMING_REAL_TIME_MODE_TRIGGER_INTERVAL",
    /// An output mode that the real-time trigger cannot run in.
    RealTimeOutputMode => "STREAMING_REAL_TIME_MODE.OUTPUT_MODE_NOT_SUPPORTED",
    /// An input path that does not exist.
    PathNotFound => "PATH_NOT_FOUND",
    /// Files both beside and inside partition directories, or below different base paths.
    ConflictingDirectoryStructures => "CONFLICTING_DIRECTORY_STRUCTURES",
    /// Partition directories that do not name the same columns.
    ConflictingPartitionColumnNames => "CONFLICTING_PARTITION_COLUMN_NAMES",
    /// A value in a directory's name that its column cannot have.
    InvalidPartitionValue => "INVALID_PARTITION_VALUE",
    /// Files without a record to infer a schema from.
    UnableToInferSchema => "UNABLE_TO_INFER_SCHEMA",
    /// A schema that a source needs and was not given.
    SchemaRequired => "STREAMING_SOURCE_SCHEMA_REQUIRED",
    /// A query name that is already active in the session.
    QueryNameInUse => "QUERY_NAME_IN_USE",
    /// A malformed input record under FAILFAST; names its origin.
    MalformedRecord => "MALFORMED_RECORD_IN_PARSING",
    /// A cast of a value that its target type cannot hold (ANSI mode).
    CastInvalidInput => "CAST_INVALID_INPUT",
    /// A division by zero (ANSI mode).
    DivideByZero => "DIVIDE_BY_ZERO",
    /// A sum or product outside its type (ANSI mode).
    ArithmeticOverflow => "ARITHMETIC_OVERFLOW",
    /// A remainder by zero (ANSI mode).
    RemainderByZero => "REMAINDER_BY_ZERO",
    /// A cast of a number that its target type is too small for (ANSI mode).
    CastOverflow => "CAST_OVERFLOW",
    /// A decimal with more digits than its type has (ANSI mode).
    NumericValueOutOfRange => "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
    /// `grouping()` where rows are not grouped by several sets of keys.
    UnsupportedGrouping => "UNSUPPORTED_GROUPING_EXPRESSION",
    /// `grouping()` of a column that is not grouped by.
    GroupingColumnMismatch => "GROUPING_COLUMN_MISMATCH",
    /// `grouping_id()` of other columns than those that are grouped by.
    GroupingIdColumnMismatch => "GROUPING_ID_COLUMN_MISMATCH",
    /// A set operation on relations of different widths.
    NumColumnsMismatch => "NUM_COLUMNS_MISMATCH",
    /// A set operation on columns of types that have none in common.
    IncompatibleColumnType => "INCOMPATIBLE_COLUMN_TYPE",
    /// A function over a window of rows on a stream.
    NonTimeWindow => "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING",
    /// A query as a value that gives more than one row.
    ScalarSubqueryTooManyRows => "SCALAR_SUBQUERY_TOO_MANY_ROWS",
    /// A function name that no function answers to.
    UnresolvedRoutine => "UNRESOLVED_ROUTINE",
    /// A call with more or fewer arguments than the function takes.
    WrongNumArgs => "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
    /// An argument whose value the function has no answer for.
    InvalidParameterValue => "INVALID_PARAMETER_VALUE" { BINARY_FORMAT HMAC_ALGORITHM },
    /// An array index outside of the array (ANSI mode).
    InvalidArrayIndex => "INVALID_ARRAY_INDEX",
    /// An index outside of the array in `element_at` (ANSI mode).
    InvalidArrayIndexInElementAt => "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
    /// An index of 0 where elements are counted from 1.
    InvalidIndexOfZero => "INVALID_INDEX_OF_ZERO",
    /// A map with a key twice.
    DuplicatedMapKey => "DUPLICATED_MAP_KEY",
    /// A map with NULL as a key.
    NullMapKey => "NULL_MAP_KEY",
    /// A text that does not follow its date pattern (ANSI mode).
    CannotParseTimestamp => "CANNOT_PARSE_TIMESTAMP",
    /// Fields of a date or time that is none (ANSI mode).
    DatetimeFieldOutOfBounds => "DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION",
    /// A time outside of the range of its type.
    DatetimeOverflow => "DATETIME_OVERFLOW",
    /// A text that names no day of the week (ANSI mode).
    IllegalDayOfWeek => "ILLEGAL_DAY_OF_WEEK",
    /// A field of a time that is none.
    InvalidExtractField => "INVALID_EXTRACT_FIELD",
    /// A pattern of a number that is none.
    InvalidFormat => "INVALID_FORMAT" {
        CONT_THOUSANDS_SEPS CUR_MUST_BEFORE_DEC CUR_MUST_BEFORE_DIGIT EMPTY THOUSANDS_SEPS_MUST_BEFORE_DEC UNEXPECTED_TOKEN
        WRONG_NUM_DIGIT WRONG_NUM_TOKEN
    },
    /// A text that does not follow its pattern of a number.
    FormatMismatch => "INVALID_FORMAT.MISMATCH_INPUT",
    /// A text that does not stand for bytes in its format.
    ConversionInvalidInput => "CONVERSION_INVALID_INPUT",
    /// Bytes that are no UTF-8.
    InvalidUtf8 => "INVALID_UTF8_STRING",
    /// A text that is no URL (ANSI mode).
    InvalidUrl => "INVALID_URL",
    /// Seconds of a time beyond its minute (ANSI mode).
    InvalidFractionOfSecond => "INVALID_FRACTION_OF_SECOND",
    /// An interval that is too long.
    IntervalOverflow => "INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION",
    /// A bit outside of its bitmap.
    InvalidBitmapPosition => "INVALID_BITMAP_POSITION",
    /// Vectors of different dimensions.
    VectorDimensionMismatch => "VECTOR_DIMENSION_MISMATCH",
    /// A norm of a vector that is not 1, 2 or infinity.
    InvalidVectorNormDegree => "INVALID_VECTOR_NORM_DEGREE",
    /// `raise_error` or `assert_true` in a query.
    UserRaisedException => "USER_RAISED_EXCEPTION",
    /// Input offsets that the source no longer holds.
    KafkaDataLoss => "KAFKA_DATA_LOSS",
    /// A failure reported by the Kafka client or the brokers.
    Kafka => "KAFKA",
    /// A transaction of the Kafka sink that a newer instance of the same query has fenced.
    KafkaFenced => "KAFKA_FENCED",
    /// A checkpoint that cannot be created, read or written.
    CheckpointIo => "CHECKPOINT_IO",
    /// A checkpoint file that is missing, damaged or contradicts another; names the file.
    CheckpointCorrupt => "CHECKPOINT_CORRUPT",
    /// A checkpoint written by a newer engine.
    CheckpointVersion => "CHECKPOINT_VERSION",
    /// A checkpoint that another running query holds, or has taken over.
    CheckpointFenced => "CHECKPOINT_FENCED",
    /// A checkpoint whose query differs from the one started in a way that changes the meaning of its state.
    CheckpointIncompatible => "CHECKPOINT_INCOMPATIBLE_QUERY",
    /// A device that was asked for by name and is not there.
    DeviceNotFound => "DEVICE_NOT_FOUND",
    /// A kernel that could not be built or run.
    Kernel => "KERNEL",
    /// A file or directory of a source or sink that cannot be read or written.
    Io => "IO",
    /// A failure of user code (`foreach_batch`, a custom source or sink).
    UserCode => "USER_CODE",
    /// What a Python function raised, with its traceback.
    PythonException => "PYTHON_EXCEPTION",
    /// A worker of `foreachBatch` that could not read its function.
    PythonRunnerInitialization => "STREAMING_PYTHON_RUNNER_INITIALIZATION_FAILURE",
    /// No Python that can run the functions of a client.
    PythonNotFound => "PYTHON_NOT_FOUND",
    /// A query that ended with a failure; carries the cause.
    StreamFailed => "STREAM_FAILED",
    /// A broken promise inside the engine: a bug to report.
    Internal => "INTERNAL_ERROR",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure with a stable [`ErrorCode`] and a message for people.
///
/// ```
/// use tidemill::{Error, ErrorCode};
/// let error = Error::new(ErrorCode::PathNotFound, "no such directory: data/rides");
/// assert_eq!(error.code(), ErrorCode::PathNotFound);
/// assert_eq!(error.to_string(), "[PATH_NOT_FOUND] no such directory: data/rides");
/// // A query's failure has its cause, which may be an error of this type as well.
/// let failed = Error::caused_by(ErrorCode::StreamFailed, "the query failed", error);
/// let cause = std::error::Error::source(&failed).and_then(|cause| cause.downcast_ref::<Error>());
/// assert_eq!(cause.map(Error::code), Some(ErrorCode::PathNotFound));
/// ```
#[derive(Debug, Clone)]
pub struct Error {
    code: ErrorCode,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    details: Option<Arc<Details>>,
}

/// What some errors say beside their message.
#[derive(Debug, Clone, Default)]
struct Details {
    sub_condition: Option<&'static str>,
    parameters: Vec<(&'static str, String)>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.condition(), self.message)
    }
}

impl std::error::Error for Error {
    // The cause itself, not what it is kept in, so that it can be downcast.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

impl Error {
    /// An error without an underlying cause.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None, details: None }
    }

    /// An error caused by another; the cause stays reachable through `source()`.
    pub fn caused_by(
        code: ErrorCode,
        message: impl Into<String>,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { code, message: message.into(), source: Some(Arc::new(cause)), details: None }
    }

    /// A bug in the engine, with what was expected.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message without the code.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code in full: with the sub-condition, where the error has one. It is what is printed, and what `getCondition()` gives in PySpark.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let rows = MemoryStream::new("t TIMESTAMP");
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let rows = rows.frame(&Session::builder().config("tidemill.device", "cpu").build().await?)?;
    /// let error = rows.select([window_sliding("t", "5 minutes", "10 minutes")]).unwrap_err();
    /// assert_eq!(error.code(), ErrorCode::DatatypeMismatch);
    /// assert_eq!(error.condition(), "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION");
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    pub fn condition(&self) -> Cow<'static, str> {
        match self.details.as_ref().and_then(|details| details.sub_condition) {
            Some(sub) => Cow::Owned(format!("{}.{sub}", self.code)),
            None => Cow::Borrowed(self.code.as_str()),
        }
    }

    /// The things that the message is about, by Spark's names of them; `getMessageParameters()` in PySpark.
    pub fn parameters(&self) -> &[(&'static str, String)] {
        self.details.as_ref().map_or(&[], |details| details.parameters.as_slice())
    }

    /// One of [`Error::parameters`].
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters().iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }

    /// The same error as one of the code's [`ErrorCode::sub_conditions`].
    pub fn with_sub_condition(mut self, sub: &'static str) -> Self {
        debug_assert!(self.code.sub_conditions().contains(&sub), "{} has no sub-condition {sub}", self.code);
        Arc::make_mut(self.details.get_or_insert_default()).sub_condition = Some(sub);
        self
    }

    /// The same error with a thing that its message is about.
    pub fn with_parameter(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        Arc::make_mut(self.details.get_or_insert_default()).parameters.push((name, value.to_string()));
        self
    }

    /// The same error with another message.
    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    /// An argument of a type that a function does not take: the argument's place (from 0), the type it should have and the one it has.
    pub(crate) fn of_argument(message: String, index: usize, needed: &str, found: &str) -> Self {
        let ordinal = match index {
            0 => "first".to_string(),
            1 => "second".to_string(),
            2 => "third".to_string(),
            later => format!("{}th", later + 1),
        };
        Self::new(ErrorCode::DatatypeMismatch, message)
            .with_sub_condition("UNEXPECTED_INPUT_TYPE")
            .with_parameter("paramIndex", ordinal)
            .with_parameter("requiredType", format!("\"{needed}\""))
            .with_parameter("inputType", format!("\"{found}\""))
    }

    /// The same error with more words in front of its message, which say where it happened.
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError;
        match error {
            // Our own errors travel through Arrow and DataFusion expressions boxed.
            ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::new(ErrorCode::InvalidExpression, other.to_string()),
            },
            ArrowError::DivideByZero => Error::new(
                ErrorCode::DivideByZero,
                "division by zero; use try_divide, or set spark.sql.ansi.enabled to false to get NULL",
            ),
            ArrowError::CastError(text) | ArrowError::ParseError(text) => Error::new(
                ErrorCode::CastInvalidInput,
                format!("{text}; use try_cast, or set spark.sql.ansi.enabled to false to get NULL"),
            ),
            ArrowError::ArithmeticOverflow(text) => Error::new(
                ErrorCode::ArithmeticOverflow,
                format!("{text}; set spark.sql.ansi.enabled to false to wrap around"),
            ),
            other => Error::new(ErrorCode::InvalidExpression, other.to_string()),
        }
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError;
        match error {
            DataFusionError::ArrowError(inner, _) => Error::from(*inner),
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::new(ErrorCode::UserCode, other.to_string()),
            },
            DataFusionError::Context(place, inner) => Error::from(*inner).within(place),
            other => Error::new(ErrorCode::InvalidExpression, other.strip_backtrace()),
        }
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        datafusion::error::DataFusionError::External(Box::new(error))
    }
}

impl From<Error> for arrow::error::ArrowError {
    fn from(error: Error) -> Self {
        arrow::error::ArrowError::ExternalError(Box::new(error))
    }
}

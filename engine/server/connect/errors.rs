//! Failures as PySpark understands them: the exception class of Spark, the error class and the SQLSTATE.
//!
//! Comes in: errors of the engine, and calls with a handle that stands for nothing. Goes out: a gRPC status with the details in a trailer, from
//! which the client chooses the exception that it raises; and the same in full, on request. Fails: nothing.

use crate::error::{Error, ErrorCode};
use spark_connect_proto::fetch_error_details_response::{Error as Details, SparkThrowable};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

/// Classes of Spark's exceptions, the nearest first, by which a client chooses its own.
struct Classes(&'static [&'static str]);

const ANALYSIS: Classes =
    Classes(&["org.apache.spark.sql.AnalysisException", "java.lang.Exception", "java.lang.Throwable"]);
const PARSE: Classes = Classes(&[
    "org.apache.spark.sql.catalyst.parser.ParseException",
    "org.apache.spark.sql.AnalysisException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const PLAN: Classes =
    Classes(&["org.apache.spark.sql.connect.common.InvalidPlanInput", "java.lang.Exception", "java.lang.Throwable"]);
const STREAM: Classes =
    Classes(&["org.apache.spark.sql.streaming.StreamingQueryException", "java.lang.Exception", "java.lang.Throwable"]);
const ILLEGAL_ARGUMENT: Classes = Classes(&[
    "org.apache.spark.SparkIllegalArgumentException",
    "java.lang.IllegalArgumentException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const ARITHMETIC: Classes = Classes(&[
    "org.apache.spark.SparkArithmeticException",
    "java.lang.ArithmeticException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const NUMBER_FORMAT: Classes = Classes(&[
    "org.apache.spark.SparkNumberFormatException",
    "java.lang.NumberFormatException",
    "java.lang.IllegalArgumentException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const DATE_TIME: Classes = Classes(&[
    "org.apache.spark.SparkDateTimeException",
    "java.time.DateTimeException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const ARRAY_INDEX: Classes = Classes(&[
    "org.apache.spark.SparkArrayIndexOutOfBoundsException",
    "java.lang.ArrayIndexOutOfBoundsException",
    "java.lang.IndexOutOfBoundsException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const RUNTIME: Classes = Classes(&[
    "org.apache.spark.SparkRuntimeException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const NO_SUCH_ELEMENT: Classes = Classes(&[
    "org.apache.spark.SparkNoSuchElementException",
    "java.util.NoSuchElementException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const PYTHON: Classes = Classes(&[
    "org.apache.spark.api.python.PythonException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const PYTHON_RUNNER: Classes = Classes(&[
    "org.apache.spark.api.python.StreamingPythonRunner$StreamingPythonRunnerInitializationException",
    "org.apache.spark.SparkPythonException",
    "org.apache.spark.SparkRuntimeException",
    "java.lang.RuntimeException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);
const SPARK: Classes = Classes(&["org.apache.spark.SparkException", "java.lang.Exception", "java.lang.Throwable"]);
const HANDLE: Classes = Classes(&[
    "org.apache.spark.SparkSQLException",
    "java.sql.SQLException",
    "java.lang.Exception",
    "java.lang.Throwable",
]);

/// The exception and the SQLSTATE of an error; Spark's where it has the error.
fn kind_of(error: &Error) -> (&'static Classes, &'static str) {
    let (classes, state) = kind(error.code());
    // A text that is no value of its type is another exception for each kind of type.
    let classes = match (error.code(), error.parameter("targetType")) {
        (ErrorCode::CastInvalidInput, Some("\"DATE\"" | "\"TIMESTAMP\"" | "\"TIMESTAMP_NTZ\"")) => &DATE_TIME,
        (ErrorCode::CastInvalidInput, Some("\"BOOLEAN\"")) => &RUNTIME,
        _ => classes,
    };
    (classes, state)
}

/// The exception and the SQLSTATE of a code.
fn kind(code: ErrorCode) -> (&'static Classes, &'static str) {
    use ErrorCode as C;
    match code {
        C::UnresolvedColumn | C::UnresolvedFieldName | C::UnresolvedUsingColumn => (&ANALYSIS, "42703"),
        C::AmbiguousReference | C::FieldNotFound | C::DataFrameColumn => (&ANALYSIS, "42704"),
        C::DatatypeMismatch | C::EventTimeNotTimestamp => (&ANALYSIS, "42K09"),
        C::InvalidExpression | C::NegativeLimit | C::JoinConditionType => (&ANALYSIS, "42K0E"),
        C::InvalidWhereCondition => (&ANALYSIS, "42903"),
        C::MissingAggregation | C::MissingGroupBy => (&ANALYSIS, "42803"),
        C::NestedAggregate => (&ANALYSIS, "42607"),
        C::CannotParseInterval => (&ANALYSIS, "22006"),
        C::InvalidIntervalFormat => (&ILLEGAL_ARGUMENT, "22006"),
        C::ParseSyntaxError => (&PARSE, "42601"),
        C::UnsupportedDataType | C::InvalidPartitionColumn => (&ANALYSIS, "0A000"),
        C::AllPartitionColumns => (&ANALYSIS, "KD005"),
        C::ColumnAlreadyExists => (&ANALYSIS, "42711"),
        C::DuplicatedMetricsName => (&ANALYSIS, "42710"),
        C::MetricsMissingName => (&ANALYSIS, "42K0E"),
        C::RedefiningWatermark => (&ANALYSIS, "42KDE"),
        C::OutputModeInvalid => (&ILLEGAL_ARGUMENT, "42KDE"),
        C::OutputModeUnsupported | C::OutputModeUnsupportedSink | C::CallOnStreamingDataset => (&ANALYSIS, "42KDE"),
        C::UnsupportedOperation => (&ANALYSIS, "0A000"),
        C::WriteStreamNotAllowed => (&ANALYSIS, "42601"),
        C::InvalidSaveMode => (&ILLEGAL_ARGUMENT, "42000"),
        C::PathAlreadyExists => (&ANALYSIS, "42K04"),
        C::DataSourceNotFound | C::KafkaNotEnabled | C::S3NotEnabled => (&ANALYSIS, "42K02"),
        C::StorageAccessDenied => (&SPARK, "42501"),
        C::InvalidOption => (&ILLEGAL_ARGUMENT, "42616"),
        C::MissingOption => (&ANALYSIS, "42616"),
        C::TableNotFound => (&ANALYSIS, "42P01"),
        C::DataFrameNotFound => (&PLAN, "56K00"),
        C::TableExists | C::TempViewExists => (&ANALYSIS, "42P07"),
        C::WrongObjectType => (&ANALYSIS, "42809"),
        C::ConfNotFound => (&NO_SUCH_ELEMENT, "42K0I"),
        C::ConfValueType | C::ConfValueRequirement | C::ConfValueTimeZone => (&ILLEGAL_ARGUMENT, "22022"),
        C::ConfStatic | C::ConfCore => (&ANALYSIS, "46110"),
        C::RealTimeSource | C::RealTimeOutputMode => (&ANALYSIS, "0A000"),
        C::RealTimeOperator => (&ILLEGAL_ARGUMENT, "0A000"),
        C::RealTimeInterval => (&ILLEGAL_ARGUMENT, "22023"),
        C::PathNotFound => (&ANALYSIS, "42K03"),
        C::ConflictingDirectoryStructures | C::ConflictingPartitionColumnNames => (&SPARK, "KD009"),
        C::InvalidPartitionValue => (&RUNTIME, "42846"),
        C::UnableToInferSchema => (&ANALYSIS, "42KD9"),
        C::SchemaRequired => (&ILLEGAL_ARGUMENT, "42K0E"),
        C::QueryNameInUse => (&ILLEGAL_ARGUMENT, "42710"),
        C::MalformedRecord => (&SPARK, "22023"),
        C::CastInvalidInput => (&NUMBER_FORMAT, "22018"),
        C::DivideByZero | C::RemainderByZero => (&ARITHMETIC, "22012"),
        C::ArithmeticOverflow | C::CastOverflow | C::NumericValueOutOfRange => (&ARITHMETIC, "22003"),
        C::UnresolvedRoutine => (&ANALYSIS, "42883"),
        C::WrongNumArgs => (&ANALYSIS, "42605"),
        C::InvalidParameterValue => (&RUNTIME, "22023"),
        C::InvalidArrayIndex | C::InvalidArrayIndexInElementAt => (&ARRAY_INDEX, "22003"),
        C::InvalidIndexOfZero => (&RUNTIME, "22003"),
        C::DuplicatedMapKey => (&RUNTIME, "23505"),
        C::NullMapKey => (&RUNTIME, "2200E"),
        C::CannotParseTimestamp => (&DATE_TIME, "22007"),
        C::DatetimeFieldOutOfBounds => (&DATE_TIME, "22023"),
        C::DatetimeOverflow => (&ARITHMETIC, "22008"),
        C::IllegalDayOfWeek => (&ILLEGAL_ARGUMENT, "22009"),
        C::InvalidExtractField => (&PARSE, "42601"),
        C::UnsupportedGrouping => (&ANALYSIS, "42K0E"),
        C::GroupingColumnMismatch | C::GroupingIdColumnMismatch => (&ANALYSIS, "42803"),
        C::NumColumnsMismatch => (&ANALYSIS, "42826"),
        C::IncompatibleColumnType => (&ANALYSIS, "42825"),
        C::NonTimeWindow => (&ANALYSIS, "42KDE"),
        C::ScalarSubqueryTooManyRows => (&SPARK, "21000"),
        C::InvalidFormat => (&ANALYSIS, "42601"),
        C::FormatMismatch => (&ILLEGAL_ARGUMENT, "42601"),
        C::ConversionInvalidInput => (&ILLEGAL_ARGUMENT, "22018"),
        C::InvalidUtf8 => (&ILLEGAL_ARGUMENT, "22029"),
        C::InvalidUrl => (&ILLEGAL_ARGUMENT, "22P02"),
        C::InvalidFractionOfSecond => (&DATE_TIME, "22023"),
        C::IntervalOverflow => (&ARITHMETIC, "22015"),
        C::InvalidBitmapPosition => (&ARRAY_INDEX, "22003"),
        C::VectorDimensionMismatch => (&RUNTIME, "22000"),
        C::InvalidVectorNormDegree => (&RUNTIME, "22023"),
        C::UserRaisedException => (&RUNTIME, "P0001"),
        C::KafkaDataLoss => (&RUNTIME, "22000"),
        C::Kafka | C::KafkaFenced | C::CheckpointIo | C::Io | C::Kernel | C::DeviceNotFound => (&SPARK, "58030"),
        C::CheckpointCorrupt | C::CheckpointVersion | C::CheckpointFenced | C::CheckpointIncompatible => {
            (&SPARK, "42K03")
        }
        C::PythonException => (&PYTHON, "38000"),
        C::PythonRunnerInitialization => (&PYTHON_RUNNER, "XXKST"),
        C::PythonNotFound => (&SPARK, "58000"),
        C::UserCode => (&SPARK, "38000"),
        C::StreamFailed => (&STREAM, "XXKST"),
        C::Internal => (&SPARK, "XX000"),
    }
}

/// A failure on its way to a client.
#[derive(Debug, Clone)]
pub struct Failure {
    classes: &'static [&'static str],
    /// The error class, of which Spark's messages begin.
    class: String,
    sql_state: &'static str,
    message: String,
    /// The things that the message is about, by Spark's names of them.
    parameters: BTreeMap<String, String>,
}

impl Failure {
    /// A call with a handle that stands for nothing, or with one that is spent; `reason` is Spark's subclass.
    pub fn handle(reason: &str, handle: &str, why: impl Display) -> Self {
        Self {
            classes: HANDLE.0,
            class: format!("INVALID_HANDLE.{reason}"),
            sql_state: "HY000",
            message: format!("The handle {handle} is invalid. {why}"),
            parameters: BTreeMap::from([("handle".to_string(), handle.to_string())]),
        }
    }

    /// An execution that was interrupted.
    pub fn cancelled(operation: &str) -> Self {
        Self {
            classes: HANDLE.0,
            class: "OPERATION_CANCELED".to_string(),
            sql_state: "HY008",
            message: format!("Operation {operation} has been canceled"),
            parameters: BTreeMap::new(),
        }
    }

    /// The error class.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The message as a client shows it.
    pub fn text(&self) -> String {
        let message = self.message.trim_end();
        let end = if message.ends_with(['.', '\n']) { "" } else { "." };
        format!("[{}] {message}{end} SQLSTATE: {}", self.class, self.sql_state)
    }

    /// The status for a call that failed. `id` is under what the client may ask for [`Failure::details`].
    pub fn status(&self, id: Option<Uuid>) -> Status {
        let text = self.text();
        // A trailer has bounds; the whole message is in the details.
        let short: String = text.chars().take(2048).collect();
        let mut metadata = HashMap::from([
            ("classes".to_string(), serde_json::Value::from(self.classes.to_vec()).to_string()),
            ("errorClass".to_string(), self.class.clone()),
            ("sqlState".to_string(), self.sql_state.to_string()),
            ("messageParameters".to_string(), self.short_parameters()),
        ]);
        if let Some(id) = id {
            metadata.insert("errorId".to_string(), id.to_string());
        }
        let reason = self.classes.first().copied().unwrap_or("java.lang.Exception");
        let details = ErrorDetails::with_error_info(reason, "org.apache.spark", metadata);
        Status::with_error_details(Code::Internal, short, details)
    }

    /// The parameters as JSON, as far as a trailer has room for them.
    fn short_parameters(&self) -> String {
        let all = serde_json::Value::from_iter(self.parameters.clone()).to_string();
        if all.len() <= 512 { all } else { "{}".to_string() }
    }

    /// The failure in full.
    pub fn details(&self) -> Details {
        Details {
            error_type_hierarchy: self.classes.iter().map(ToString::to_string).collect(),
            message: self.text(),
            stack_trace: Vec::new(),
            cause_idx: None,
            spark_throwable: Some(SparkThrowable {
                error_class: Some(self.class.clone()),
                message_parameters: self.parameters.clone().into_iter().collect(),
                query_contexts: Vec::new(),
                sql_state: Some(self.sql_state.to_string()),
                breaking_change_info: None,
            }),
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (classes, sql_state) = kind_of(error);
        let parameters = error.parameters().iter().map(|(name, value)| (name.to_string(), value.clone()));
        Self {
            classes: classes.0,
            class: error.condition().into_owned(),
            sql_state,
            message: error.message().to_string(),
            parameters: parameters.collect(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_exception_the_class_and_the_state() {
        let failure = Failure::from(Error::new(ErrorCode::DivideByZero, "division by zero"));
        let id = Uuid::from_u128(7);
        let status = failure.status(Some(id));
        assert_eq!(
            (status.code(), status.message()),
            (Code::Internal, "[DIVIDE_BY_ZERO] division by zero. SQLSTATE: 22012")
        );
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["errorClass"], "DIVIDE_BY_ZERO");
        assert_eq!(info.metadata["sqlState"], "22012");
        assert_eq!(info.metadata["errorId"], "00000000-0000-0000-0000-000000000007");
        assert!(
            info.metadata["classes"]
                .starts_with(r#"["org.apache.spark.SparkArithmeticException","java.lang.ArithmeticException""#)
        );
        let details = failure.details();
        assert_eq!(details.message, status.message());
        assert_eq!(details.error_type_hierarchy[0], info.reason);
    }

    #[test]
    fn parameters_and_sub_conditions_arrive_in_both_forms() {
        let error = Error::new(ErrorCode::DatatypeMismatch, "no")
            .with_sub_condition("FILTER_NOT_BOOLEAN")
            .with_parameter("filter", "\"id\"");
        let failure = Failure::from(&error);
        let info = failure.status(None).get_details_error_info().unwrap();
        assert_eq!(info.metadata["errorClass"], "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN");
        assert_eq!(info.metadata["messageParameters"], r#"{"filter":"\"id\""}"#);
        let throwable = failure.details().spark_throwable.unwrap();
        assert_eq!(throwable.error_class.unwrap(), "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN");
        assert_eq!(throwable.message_parameters["filter"], "\"id\"");
        // A trailer has bounds, and the details have not.
        let long = Failure::from(error.with_parameter("type", "x".repeat(5000)));
        assert_eq!(long.status(None).get_details_error_info().unwrap().metadata["messageParameters"], "{}");
        assert_eq!(long.details().spark_throwable.unwrap().message_parameters.len(), 2);
    }

    #[test]
    fn a_bad_text_is_the_exception_of_its_type() {
        let class = |target: &str| {
            Failure::from(Error::new(ErrorCode::CastInvalidInput, "no").with_parameter("targetType", target)).classes[0]
        };
        assert_eq!(class("\"INT\""), "org.apache.spark.SparkNumberFormatException");
        assert_eq!(class("\"DATE\""), "org.apache.spark.SparkDateTimeException");
        assert_eq!(class("\"BOOLEAN\""), "org.apache.spark.SparkRuntimeException");
    }

    #[test]
    fn every_code_has_an_exception_and_a_state() {
        for code in ErrorCode::ALL {
            let (classes, state) = kind(*code);
            assert_eq!(classes.0.last(), Some(&"java.lang.Throwable"), "{code}");
            assert_eq!(state.len(), 5, "{code}");
        }
    }
}

//! State of your own: [`StatefulProcessor`], which sees the rows of one key after the other, and the state and timers that it keeps for
//! each.
//!
//! Comes in: a batch's rows by key, and timers that have expired. Goes out: rows, and changed state. Fails: what the processor refuses,
//! state that is not of the type that is asked for, and timers of another time mode; each ends the query.
//!
//! State is kept as JSON below a name, key by key, so that a checkpoint can be read by a processor that has more states than the one
//! that wrote it.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// Spark's `StatefulProcessor`: what [`GroupedFrame::transform_with_state`](super::GroupedFrame::transform_with_state) runs for each key.
///
/// Calls for a key come in the order of its rows. A clone runs in each start of the query; all that it must remember belongs into state.
///
/// ```
/// use tidemill::prelude::*;
///
/// /// Says when a device has been silent for a minute of event time.
/// #[derive(Clone)]
/// struct Silence {
///     readings: ValueState<u64>,
/// }
///
/// impl StatefulProcessor for Silence {
///     fn handle_input_rows(
///         &mut self,
///         _key: &InputRow<'_>,
///         rows: &mut dyn Iterator<Item = InputRow<'_>>,
///         _times: TimerValues,
///         handle: &mut StateHandle<'_>,
///     ) -> Result<(), Error> {
///         let mut seen = self.readings.get(handle)?.unwrap_or(0);
///         for row in rows {
///             seen += 1;
///             for timer in handle.list_timers() {
///                 handle.delete_timer(timer)?;
///             }
///             let time = row.timestamp_ms("t")?.unwrap_or_default();
///             handle.register_timer(time + 60_000)?;
///         }
///         self.readings.update(handle, &seen)
///     }
///
///     fn handle_expired_timer(
///         &mut self,
///         key: &InputRow<'_>,
///         _expired_ms: i64,
///         _times: TimerValues,
///         handle: &mut StateHandle<'_>,
///     ) -> Result<(), Error> {
///         let seen = self.readings.get(handle)?.unwrap_or(0);
///         self.readings.clear(handle);
///         handle.emit([key.value("device")?, (seen as i64).into()])
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let session = Session::builder().build().await?;
/// # let schema = StructType::from_ddl("device STRING, t TIMESTAMP")?.to_arrow_schema();
/// # let readings = MemoryStream::new(schema).frame(&session)?;
/// let silent = readings
///     .with_watermark("t", "10 seconds")?
///     .group_by(["device"])?
///     .transform_with_state(Silence { readings: ValueState::new("readings") }, "device STRING, readings BIGINT", TimeMode::EventTime)?;
/// # assert_eq!(silent.schema().fields().len(), 2);
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
pub trait StatefulProcessor: Send + 'static {
    /// Takes the rows that a batch brings for a key, in the order of the input.
    ///
    /// # Errors
    /// What ends the query.
    fn handle_input_rows(
        &mut self,
        key: &InputRow<'_>,
        rows: &mut dyn Iterator<Item = InputRow<'_>>,
        times: TimerValues,
        handle: &mut StateHandle<'_>,
    ) -> Result<()>;

    /// Called for each timer of a key that has expired, in order of time, after the batch's rows. The timer is deleted before.
    ///
    /// # Errors
    /// What ends the query.
    fn handle_expired_timer(
        &mut self,
        _key: &InputRow<'_>,
        _expired_ms: i64,
        _times: TimerValues,
        _handle: &mut StateHandle<'_>,
    ) -> Result<()> {
        Ok(())
    }
}

/// By which time a processor's timers expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeMode {
    /// There are no timers, and state does not expire.
    None,
    /// By the wall clock at which a batch was planned. State may have a time to live.
    ProcessingTime,
    /// By the watermark. Late rows are dropped.
    EventTime,
}

/// What time it is for a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerValues {
    /// The wall clock at which the batch was planned: the same when it runs again after a failure.
    pub processing_time_ms: i64,
    /// The watermark.
    pub watermark_ms: i64,
}

/// A row of the input, or a key.
#[derive(Debug, Clone, Copy)]
pub struct InputRow<'a> {
    rows: &'a RecordBatch,
    row: usize,
}

impl<'a> InputRow<'a> {
    pub(crate) fn new(rows: &'a RecordBatch, row: usize) -> Self {
        Self { rows, row }
    }

    fn column(&self, name: &str) -> Result<&'a ArrayRef> {
        let schema = self.rows.schema_ref();
        let index = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
        index.map(|index| self.rows.column(index)).ok_or_else(|| {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Error::new(
                ErrorCode::UnresolvedColumn,
                format!("a row has no column {name:?}; it has [{}]", names.join(", ")),
            )
        })
    }

    /// A value of any type.
    ///
    /// # Errors
    /// `UnresolvedColumn`.
    pub fn value(&self, column: &str) -> Result<ScalarValue> {
        Ok(ScalarValue::try_from_array(self.column(column)?, self.row)?)
    }

    /// A text, or None for NULL.
    ///
    /// # Errors
    /// `UnresolvedColumn`, and `DatatypeMismatch` for a column of another type.
    pub fn text(&self, column: &str) -> Result<Option<&'a str>> {
        let array = self.column(column)?;
        let texts = array.as_string_opt::<i32>().ok_or_else(|| self.mismatch(column, array, "a text"))?;
        Ok(texts.is_valid(self.row).then(|| texts.value(self.row)))
    }

    /// A `bigint`, or None for NULL.
    ///
    /// # Errors
    /// As [`InputRow::text`].
    pub fn bigint(&self, column: &str) -> Result<Option<i64>> {
        let array = self.column(column)?;
        let numbers = array.as_primitive_opt::<Int64Type>().ok_or_else(|| self.mismatch(column, array, "a bigint"))?;
        Ok(numbers.is_valid(self.row).then(|| numbers.value(self.row)))
    }

    /// A `double`, or None for NULL.
    ///
    /// # Errors
    /// As [`InputRow::text`].
    pub fn double(&self, column: &str) -> Result<Option<f64>> {
        let array = self.column(column)?;
        let numbers = array.as_primitive_opt::<arrow::datatypes::Float64Type>();
        let numbers = numbers.ok_or_else(|| self.mismatch(column, array, "a double"))?;
        Ok(numbers.is_valid(self.row).then(|| numbers.value(self.row)))
    }

    /// A timestamp in milliseconds, or None for NULL.
    ///
    /// # Errors
    /// As [`InputRow::text`].
    pub fn timestamp_ms(&self, column: &str) -> Result<Option<i64>> {
        let array = self.column(column)?;
        let times = array.as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| self.mismatch(column, array, "a timestamp"))?;
        Ok(times.is_valid(self.row).then(|| times.value(self.row).div_euclid(1000)))
    }

    fn mismatch(&self, column: &str, array: &ArrayRef, wanted: &str) -> Error {
        Error::new(
            ErrorCode::DatatypeMismatch,
            format!("the column {column:?} is {}, not {wanted}; read it with value()", array.data_type()),
        )
    }
}

/// What is kept for one key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyState {
    /// States by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<String, Stored>,
    /// Timers in milliseconds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub timers: BTreeSet<i64>,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Stored {
    #[serde(rename = "v")]
    Value(Entry),
    #[serde(rename = "l")]
    List(Vec<Entry>),
    /// Keys as JSON text.
    #[serde(rename = "m")]
    Map(BTreeMap<String, Entry>),
}

/// A value, and when it expires, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "v")]
    value: Value,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    expires_ms: Option<i64>,
}

impl Entry {
    fn lives(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires| expires > now_ms)
    }
}

impl KeyState {
    /// Lets go of values that have expired.
    pub fn expire(&mut self, now_ms: i64) {
        self.states.retain(|_, stored| match stored {
            Stored::Value(entry) => entry.lives(now_ms),
            Stored::List(entries) => {
                entries.retain(|entry| entry.lives(now_ms));
                !entries.is_empty()
            }
            Stored::Map(entries) => {
                entries.retain(|_, entry| entry.lives(now_ms));
                !entries.is_empty()
            }
        });
    }

    /// When the next value expires.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        let entries = self.states.values().flat_map(|stored| -> Box<dyn Iterator<Item = &Entry> + '_> {
            match stored {
                Stored::Value(entry) => Box::new(std::iter::once(entry)),
                Stored::List(entries) => Box::new(entries.iter()),
                Stored::Map(entries) => Box::new(entries.values()),
            }
        });
        entries.filter_map(|entry| entry.expires_ms).min()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty() && self.timers.is_empty()
    }
}

/// The state and timers of the key that a processor is called for, and where its rows go.
pub struct StateHandle<'a> {
    pub(crate) state: &'a mut KeyState,
    pub(crate) times: TimerValues,
    pub(crate) mode: TimeMode,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) emitted: &'a mut Vec<Vec<ScalarValue>>,
}

impl StateHandle<'_> {
    /// Gives out a row, whose values stand for the output's columns in order.
    ///
    /// # Errors
    /// `DatatypeMismatch` for another number of values, or values of other types.
    pub fn emit(&mut self, row: impl IntoIterator<Item = ScalarValue>) -> Result<()> {
        let mut row: Vec<ScalarValue> = row.into_iter().collect();
        if row.len() != self.schema.fields().len() {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!(
                    "a row of {} values does not fit an output of {} columns",
                    row.len(),
                    self.schema.fields().len()
                ),
            ));
        }
        for (value, field) in row.iter_mut().zip(self.schema.fields()) {
            if value.data_type() != *field.data_type() {
                let cast = value.cast_to(field.data_type()).map_err(|e| {
                    let found = value.data_type();
                    let text = format!("the value of {:?} is {found}, not {}: {e}", field.name(), field.data_type());
                    Error::new(ErrorCode::DatatypeMismatch, text)
                });
                *value = cast?;
            }
        }
        self.emitted.push(row);
        Ok(())
    }

    /// Calls the processor again at `time_ms`. A timer that stands already is the same one; one that has expired calls in this batch.
    ///
    /// # Errors
    /// `UnsupportedOperation` without a time mode.
    pub fn register_timer(&mut self, time_ms: i64) -> Result<()> {
        self.timed()?;
        self.state.timers.insert(time_ms);
        Ok(())
    }

    /// Deletes a timer; nothing happens where there is none.
    ///
    /// # Errors
    /// `UnsupportedOperation` without a time mode.
    pub fn delete_timer(&mut self, time_ms: i64) -> Result<()> {
        self.timed()?;
        self.state.timers.remove(&time_ms);
        Ok(())
    }

    /// The key's timers in order.
    pub fn list_timers(&self) -> Vec<i64> {
        self.state.timers.iter().copied().collect()
    }

    fn timed(&self) -> Result<()> {
        match self.mode {
            TimeMode::None => Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "timers need a time mode; use TimeMode::ProcessingTime or TimeMode::EventTime in transform_with_state",
            )),
            _ => Ok(()),
        }
    }

    fn entry<T: Serialize>(&self, value: &T, name: &str, ttl_ms: Option<i64>) -> Result<Entry> {
        if ttl_ms.is_some() && self.mode != TimeMode::ProcessingTime {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "the state {name:?} has a time to live, which needs TimeMode::ProcessingTime; use a timer, or that mode"
                ),
            ));
        }
        let value = serde_json::to_value(value).map_err(|e| {
            Error::caused_by(ErrorCode::UserCode, format!("a value of the state {name:?} cannot be kept: {e}"), e)
        })?;
        let expires_ms = ttl_ms.map(|ttl| self.times.processing_time_ms.saturating_add(ttl));
        Ok(Entry { value, expires_ms })
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        self.state.states.get(name)
    }

    fn lives(&self, entry: &Entry) -> bool {
        entry.lives(self.times.processing_time_ms)
    }
}

fn decoded<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T> {
    T::deserialize(value).map_err(|e| {
        let text = format!("the state {name:?} holds {value}, which is not of the type that is read: {e}");
        Error::caused_by(ErrorCode::CheckpointIncompatible, text, e)
    })
}

fn another_kind(name: &str) -> Error {
    Error::new(
        ErrorCode::CheckpointIncompatible,
        format!("the state {name:?} is of another kind; give value, list and map states different names"),
    )
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident<$($type:ident),*>;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name<$($type),*> {
            name: String,
            ttl_ms: Option<i64>,
            types: PhantomData<fn() -> ($($type,)*)>,
        }

        impl<$($type),*> $name<$($type),*> {
            /// The state called `name`, which no other state of the processor has.
            pub fn new(name: impl Into<String>) -> Self {
                Self { name: name.into(), ttl_ms: None, types: PhantomData }
            }

            /// The same state, whose values are gone this long after they were written.
            ///
            /// # Errors
            /// `InvalidIntervalFormat`, and a time that is not positive.
            pub fn with_ttl(mut self, ttl: &str) -> Result<Self> {
                let ttl_ms = crate::options::parse_duration(ttl)?.div_euclid(1000);
                if ttl_ms <= 0 {
                    return Err(Error::new(
                        ErrorCode::InvalidOption,
                        format!("the time to live {ttl:?} of the state {:?} must be at least a millisecond", self.name),
                    ));
                }
                self.ttl_ms = Some(ttl_ms);
                Ok(self)
            }

            /// Forgets what the key has in this state.
            pub fn clear(&self, handle: &mut StateHandle<'_>) {
                handle.state.states.remove(&self.name);
            }
        }
    )*};
}

states! {
    /// One value a key.
    ValueState<T>;
    /// A list a key.
    ListState<T>;
    /// A map a key.
    MapState<K, V>;
}

impl<T: Serialize + DeserializeOwned> ValueState<T> {
    /// The key's value.
    ///
    /// # Errors
    /// `CheckpointIncompatible` for a value that is not a `T`.
    pub fn get(&self, handle: &StateHandle<'_>) -> Result<Option<T>> {
        match handle.stored(&self.name) {
            Some(Stored::Value(entry)) if handle.lives(entry) => decoded(&entry.value, &self.name).map(Some),
            Some(Stored::Value(_)) | None => Ok(None),
            Some(_) => Err(another_kind(&self.name)),
        }
    }

    /// Whether the key has a value.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn exists(&self, handle: &StateHandle<'_>) -> Result<bool> {
        Ok(self.get(handle)?.is_some())
    }

    /// Sets the key's value.
    ///
    /// # Errors
    /// Values that cannot be kept.
    pub fn update(&self, handle: &mut StateHandle<'_>, value: &T) -> Result<()> {
        let entry = handle.entry(value, &self.name, self.ttl_ms)?;
        handle.state.states.insert(self.name.clone(), Stored::Value(entry));
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned> ListState<T> {
    /// The key's list.
    ///
    /// # Errors
    /// `CheckpointIncompatible` for values that are not `T`s.
    pub fn get(&self, handle: &StateHandle<'_>) -> Result<Vec<T>> {
        match handle.stored(&self.name) {
            Some(Stored::List(entries)) => {
                let live = entries.iter().filter(|entry| handle.lives(entry));
                live.map(|entry| decoded(&entry.value, &self.name)).collect()
            }
            None => Ok(vec![]),
            Some(_) => Err(another_kind(&self.name)),
        }
    }

    /// Adds a value at the end.
    ///
    /// # Errors
    /// Values that cannot be kept.
    pub fn append(&self, handle: &mut StateHandle<'_>, value: &T) -> Result<()> {
        let entry = handle.entry(value, &self.name, self.ttl_ms)?;
        match handle.state.states.entry(self.name.clone()).or_insert_with(|| Stored::List(vec![])) {
            Stored::List(entries) => entries.push(entry),
            _ => return Err(another_kind(&self.name)),
        }
        Ok(())
    }

    /// Replaces the list.
    ///
    /// # Errors
    /// Values that cannot be kept.
    pub fn put(&self, handle: &mut StateHandle<'_>, values: &[T]) -> Result<()> {
        self.clear(handle);
        values.iter().try_for_each(|value| self.append(handle, value))
    }
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> MapState<K, V> {
    fn entries<'h>(&self, handle: &'h StateHandle<'_>) -> Result<Option<&'h BTreeMap<String, Entry>>> {
        match handle.stored(&self.name) {
            Some(Stored::Map(entries)) => Ok(Some(entries)),
            None => Ok(None),
            Some(_) => Err(another_kind(&self.name)),
        }
    }

    fn text(&self, key: &K) -> Result<String> {
        serde_json::to_string(key).map_err(|e| {
            let text = format!("a key of the state {:?} cannot be kept: {e}", self.name);
            Error::caused_by(ErrorCode::UserCode, text, e)
        })
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `CheckpointIncompatible` for a value that is not a `V`.
    pub fn get(&self, handle: &StateHandle<'_>, key: &K) -> Result<Option<V>> {
        let text = self.text(key)?;
        let entry = self.entries(handle)?.and_then(|entries| entries.get(&text)).filter(|entry| handle.lives(entry));
        entry.map(|entry| decoded(&entry.value, &self.name)).transpose()
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`MapState::get`].
    pub fn contains_key(&self, handle: &StateHandle<'_>, key: &K) -> Result<bool> {
        Ok(self.get(handle, key)?.is_some())
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// Values that cannot be kept.
    pub fn put(&self, handle: &mut StateHandle<'_>, key: &K, value: &V) -> Result<()> {
        let (text, entry) = (self.text(key)?, handle.entry(value, &self.name, self.ttl_ms)?);
        match handle.state.states.entry(self.name.clone()).or_insert_with(|| Stored::Map(BTreeMap::new())) {
            Stored::Map(entries) => drop(entries.insert(text, entry)),
            _ => return Err(another_kind(&self.name)),
        }
        Ok(())
    }

    /// Forgets `key`.
    ///
    /// # Errors
    /// `CheckpointIncompatible` for a state of another kind.
    pub fn remove(&self, handle: &mut StateHandle<'_>, key: &K) -> Result<()> {
        let text = self.text(key)?;
        let emptied = match handle.state.states.get_mut(&self.name) {
            Some(Stored::Map(entries)) => {
                entries.remove(&text);
                entries.is_empty()
            }
            None => false,
            Some(_) => return Err(another_kind(&self.name)),
        };
        if emptied {
            self.clear(handle);
        }
        Ok(())
    }

    /// Every key with its value.
    ///
    /// # Errors
    /// `CheckpointIncompatible` for entries of other types.
    pub fn entries_of(&self, handle: &StateHandle<'_>) -> Result<Vec<(K, V)>> {
        let entries = self.entries(handle)?.into_iter().flatten().filter(|(_, entry)| handle.lives(entry));
        let entry = |(key, entry): (&String, &Entry)| {
            let key = serde_json::from_str(key).map_err(|e| {
                let text =
                    format!("the state {:?} holds the key {key}, which is not of the type that is read", self.name);
                Error::caused_by(ErrorCode::CheckpointIncompatible, text, e)
            })?;
            Ok((key, decoded(&entry.value, &self.name)?))
        };
        entries.map(entry).collect()
    }
}

#[cfg(test)]
mod tests;

//! Planning of state of the user's own: which columns are the key, and what runs for each.
//!
//! Comes in: a grouping and a processor. Goes out: a [`CustomPlan`]. Fails: nothing here; the frame checks the grouping.

use super::fingerprint::Meaning;
use super::scope::distinct_names;
use crate::error::{Error, Result};
use crate::frame::{StatefulProcessor, TimeMode};
use arrow::datatypes::SchemaRef;
use std::fmt;
use std::sync::Arc;

/// Makes the processor of each start.
#[derive(Clone)]
pub struct Factory(Arc<dyn Fn() -> Box<dyn StatefulProcessor> + Send + Sync>, &'static str);

impl Factory {
    /// A factory that clones.
    pub fn of<P: StatefulProcessor + Clone + Sync>(processor: P) -> Self {
        Self(Arc::new(move || Box::new(processor.clone())), std::any::type_name::<P>())
    }

    /// A processor.
    pub fn make(&self) -> Box<dyn StatefulProcessor> {
        (self.0)()
    }

    /// The processor's type, for people.
    pub fn name(&self) -> &'static str {
        self.1
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

/// A processor over the rows of each key.
#[derive(Debug, Clone)]
pub struct CustomPlan {
    /// Columns of the input.
    pub input: SchemaRef,
    /// Positions of the key's columns.
    pub keys: Vec<usize>,
    /// Position of the event time, by which rows are late.
    pub event_time: Option<usize>,
    /// By what timers expire.
    pub time_mode: TimeMode,
    /// What runs.
    pub processor: Factory,
    /// Columns of the rows that it gives.
    pub schema: SchemaRef,
}

impl CustomPlan {
    pub(super) fn new(
        columns: &[String],
        processor: &Factory,
        time_mode: TimeMode,
        input: &SchemaRef,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let names = distinct_names(input);
        let position = |column: &String| {
            let found = names.iter().position(|name| name == column);
            found.ok_or_else(|| Error::internal(format!("{column} is not a column of the relation below")))
        };
        let event_time = super::deduplicate::event_time(input).map(|(column, _)| column);
        Ok(Self {
            input: input.clone(),
            keys: columns.iter().map(position).collect::<Result<_>>()?,
            event_time: event_time.filter(|_| time_mode == TimeMode::EventTime),
            time_mode,
            processor: processor.clone(),
            schema: schema.clone(),
        })
    }

    /// What the state means: its keys, and what timers are. What a processor keeps is its own affair.
    pub(super) fn meaning(&self) -> Meaning {
        let column = |index: &usize| {
            let field = self.input.field(*index);
            format!("{}: {}", field.name(), field.data_type())
        };
        [("grouping key", self.keys.iter().map(column).collect()), ("time mode", vec![format!("{:?}", self.time_mode)])]
            .map(|(label, texts)| (label.to_string(), texts))
            .into()
    }
}

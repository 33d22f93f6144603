//! What functions of functions compute.
//!
//! Comes in: columns of values and of what lambdas mention beside their parameters. Goes out: a column. Fails: as the lambdas do, and for
//! keys that a map would have twice.

use super::{Applied, HigherOrder};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::conform;
use crate::functions::collection::map_of_entries;
use crate::operator::partial::evaluate;
use crate::plan::resolve::df_schema;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Int32Array, ListArray, RecordBatch, RecordBatchOptions,
    UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, interleave, take};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;

/// A lambda that is compiled, with the columns from outside.
struct Compiled<'a> {
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
    parameters: usize,
    outside: &'a [ArrayRef],
}

impl Compiled<'_> {
    /// The lambda over these parameters, of rows whose columns from outside are those of `parents`.
    fn run(&self, parameters: &[ArrayRef], parents: &UInt32Array) -> Result<ArrayRef> {
        let own = parameters.iter().take(self.parameters).cloned().map(Ok);
        let outside = self.outside.iter().map(|column| Ok(take(column, parents, None)?));
        let columns: Vec<ArrayRef> = own.chain(outside).collect::<Result<_>>()?;
        let columns = columns.into_iter().zip(self.schema.fields()).map(|(c, f)| conform(c, f.data_type()));
        let options = RecordBatchOptions::new().with_row_count(Some(parents.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns.collect::<Result<_>>()?, &options)?;
        evaluate(&self.expr, &batch)
    }

    fn truth(&self, parameters: &[ArrayRef], parents: &UInt32Array) -> Result<BooleanArray> {
        let truth = cast(&self.run(parameters, parents)?, &DataType::Boolean)?;
        Ok(truth.as_boolean().clone())
    }
}

/// Elements of all rows, one after the other.
struct Elements {
    /// Of which row each is.
    parents: UInt32Array,
    /// Its place in the values below.
    places: UInt32Array,
    /// Its index in its list.
    indices: ArrayRef,
    lengths: Vec<usize>,
    nulls: Option<NullBuffer>,
}

impl Elements {
    fn new(offsets: &[i32], nulls: Option<&NullBuffer>) -> Self {
        let (mut parents, mut places, mut indices, mut lengths) = (vec![], vec![], vec![], vec![]);
        for (row, ends) in offsets.windows(2).enumerate() {
            let there = nulls.is_none_or(|nulls| nulls.is_valid(row));
            let (from, to) = if there { (ends[0], ends[1]) } else { (0, 0) };
            lengths.push((to - from) as usize);
            for (index, place) in (from..to).enumerate() {
                parents.push(row as u32);
                places.push(place as u32);
                indices.push(index as i32);
            }
        }
        Self {
            parents: parents.into(),
            places: places.into(),
            indices: Arc::new(Int32Array::from(indices)),
            lengths,
            nulls: nulls.cloned(),
        }
    }

    fn list(&self, values: ArrayRef, returns: &DataType) -> Result<ArrayRef> {
        list(values, self.lengths.iter().copied(), self.nulls.clone(), returns)
    }

    fn valid(&self) -> Vec<bool> {
        (0..self.lengths.len()).map(|row| self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))).collect()
    }
}

fn list(
    values: ArrayRef,
    lengths: impl IntoIterator<Item = usize>,
    nulls: Option<NullBuffer>,
    returns: &DataType,
) -> Result<ArrayRef> {
    let DataType::List(field) = returns else { return Err(Error::internal(format!("a list as {returns}"))) };
    let values = conform(values, field.data_type())?;
    Ok(Arc::new(ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), values, nulls)?))
}

fn offsets(lengths: &[usize]) -> Vec<i32> {
    let ends = lengths.iter().scan(0i32, |end, length| {
        *end = end.saturating_add(i32::try_from(*length).unwrap_or(i32::MAX));
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

impl Applied {
    /// The function over columns of its arguments.
    pub(super) fn evaluate(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let (values, outside) =
            arguments.split_at_checked(self.values.len()).ok_or_else(|| Error::internal("a value is missing"))?;
        let value = |at: usize| values.get(at).ok_or_else(|| Error::internal("a value is missing"));
        let compiled = |place: usize| -> Result<Compiled<'_>> {
            let schema = Arc::new(self.inner_schema(place)?);
            let lambda = self.lambdas.get(place).ok_or_else(|| Error::internal("a lambda is missing"))?;
            let (known, context) = (df_schema(&schema)?, PhysicalPlanningContext::default());
            let expr = create_physical_expr(&lambda.body, &known, &ExecutionProps::new(), &context)?;
            Ok(Compiled { schema, expr, parameters: lambda.parameters.len(), outside })
        };
        let lambda = compiled(0)?;
        match self.function {
            HigherOrder::Transform | HigherOrder::Filter | HigherOrder::Exists | HigherOrder::Forall => {
                let lists = value(0)?.as_list::<i32>();
                let elements = Elements::new(lists.value_offsets(), lists.nulls());
                let items = take(lists.values(), &elements.places, None)?;
                let parameters = [items.clone(), elements.indices.clone()];
                match self.function {
                    HigherOrder::Transform => elements.list(lambda.run(&parameters, &elements.parents)?, &self.returns),
                    HigherOrder::Filter => {
                        let truth = lambda.truth(&parameters, &elements.parents)?;
                        let (kept, lengths) = kept(&elements, &truth);
                        list(take(&items, &kept, None)?, lengths, elements.nulls, &self.returns)
                    }
                    other => {
                        let truth = lambda.truth(&parameters, &elements.parents)?;
                        Ok(Arc::new(any(&elements, &truth, other == HigherOrder::Exists)))
                    }
                }
            }
            HigherOrder::Aggregate => {
                let finish = if self.lambdas.len() > 1 { Some(compiled(1)?) } else { None };
                self.aggregated(value(0)?, value(1)?, &lambda, finish.as_ref(), rows)
            }
            HigherOrder::ZipWith => {
                let (left, right) = (value(0)?.as_list::<i32>(), value(1)?.as_list::<i32>());
                let nulls = NullBuffer::union(left.nulls(), right.nulls());
                let (mut parents, mut places, mut lengths) = (vec![], [vec![], vec![]], vec![]);
                for row in 0..rows {
                    let there = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                    let ends = [left, right].map(|list| (list.value_offsets()[row], list.value_offsets()[row + 1]));
                    let longest = ends.iter().map(|(from, to)| to - from).max().unwrap_or(0);
                    let longest = if there { longest } else { 0 };
                    lengths.push(longest as usize);
                    for index in 0..longest {
                        parents.push(row as u32);
                        for (places, (from, to)) in places.iter_mut().zip(ends) {
                            places.push((from + index < to).then_some((from + index) as u32));
                        }
                    }
                }
                let [of_left, of_right] = places.map(UInt32Array::from);
                let parameters = [take(left.values(), &of_left, None)?, take(right.values(), &of_right, None)?];
                list(lambda.run(&parameters, &parents.into())?, lengths, nulls, &self.returns)
            }
            HigherOrder::ArraySort => {
                let lists = value(0)?.as_list::<i32>();
                let elements = Elements::new(lists.value_offsets(), lists.nulls());
                let items = take(lists.values(), &elements.places, None)?;
                let (mut order, mut from) = (Vec::with_capacity(items.len()), 0usize);
                for (row, length) in elements.lengths.iter().enumerate() {
                    let places = (from as u32..(from + length) as u32).collect();
                    order.extend(merge_sorted(places, &mut |l, r| {
                        let pair = [l, r].map(|place| items.slice(place as usize, 1));
                        let compared = cast(&lambda.run(&pair, &vec![row as u32].into())?, &DataType::Int32)?;
                        let compared = compared.as_primitive::<Int32Type>();
                        match compared.is_valid(0) {
                            true => Ok(compared.value(0) <= 0),
                            false => Err(Error::new(
                                ErrorCode::InvalidParameterValue,
                                "array_sort(): the lambda gave NULL for a pair of elements; give -1, 0 or 1 for every pair",
                            )),
                        }
                    })?);
                    from += length;
                }
                elements.list(take(&items, &UInt32Array::from(order), None)?, &self.returns)
            }
            HigherOrder::MapFilter | HigherOrder::TransformKeys | HigherOrder::TransformValues => {
                let map = value(0)?.as_map();
                let elements = Elements::new(map.value_offsets(), map.nulls());
                let parts = [map.keys(), map.values()].map(|part| take(part, &elements.places, None));
                let [keys, items] = parts;
                let parameters = [keys?, items?];
                let [keys, items] = parameters.clone();
                let valid = elements.valid();
                let ends = offsets(&elements.lengths);
                match self.function {
                    HigherOrder::MapFilter => {
                        let truth = lambda.truth(&parameters, &elements.parents)?;
                        let (kept, lengths) = kept(&elements, &truth);
                        let (keys, items) = (take(&keys, &kept, None)?, take(&items, &kept, None)?);
                        map_of_entries(keys, items, offsets(&lengths), valid, &self.returns)
                    }
                    HigherOrder::TransformKeys => {
                        let keys = lambda.run(&parameters, &elements.parents)?;
                        map_of_entries(keys, items, ends, valid, &self.returns)
                    }
                    _ => {
                        let items = lambda.run(&parameters, &elements.parents)?;
                        map_of_entries(keys, items, ends, valid, &self.returns)
                    }
                }
            }
            HigherOrder::MapZipWith => self.zipped_maps(value(0)?, value(1)?, &lambda, rows),
        }
    }

    /// One element after the other of all rows that have it.
    fn aggregated(
        &self,
        lists: &ArrayRef,
        start: &ArrayRef,
        merge: &Compiled<'_>,
        finish: Option<&Compiled<'_>>,
        rows: usize,
    ) -> Result<ArrayRef> {
        let lists = lists.as_list::<i32>();
        let lengths: Vec<usize> =
            (0..rows).map(|row| if lists.is_valid(row) { lists.value_length(row) as usize } else { 0 }).collect();
        let mut result = start.clone();
        for step in 0..lengths.iter().copied().max().unwrap_or(0) {
            let active: Vec<u32> = (0..rows).filter(|row| lengths[*row] > step).map(|row| row as u32).collect();
            let places: UInt32Array =
                active.iter().map(|row| Some((lists.value_offsets()[*row as usize] + step as i32) as u32)).collect();
            let active = UInt32Array::from(active);
            let merged = merge.run(&[take(&result, &active, None)?, take(lists.values(), &places, None)?], &active)?;
            let merged = conform(merged, result.data_type())?;
            let mut from: Vec<(usize, usize)> = (0..rows).map(|row| (0, row)).collect();
            for (at, row) in active.values().iter().enumerate() {
                from[*row as usize] = (1, at);
            }
            result = interleave(&[result.as_ref(), merged.as_ref()], &from)?;
        }
        if let Some(finish) = finish {
            result = finish.run(&[result], &(0..rows as u32).collect::<Vec<_>>().into())?;
        }
        let result = match lists.nulls() {
            Some(nulls) => arrow::compute::nullif(&result, &BooleanArray::new(!nulls.inner(), None))?,
            None => result,
        };
        conform(result, &self.returns)
    }

    /// The keys of the first map, then those that only the second has.
    fn zipped_maps(&self, left: &ArrayRef, right: &ArrayRef, lambda: &Compiled<'_>, rows: usize) -> Result<ArrayRef> {
        let (left, right) = (left.as_map(), right.as_map());
        let nulls = NullBuffer::union(left.nulls(), right.nulls());
        let converter = RowConverter::new(vec![SortField::new(left.keys().data_type().clone())])?;
        let [of_left, of_right] = [left, right].map(|map| converter.convert_columns(std::slice::from_ref(map.keys())));
        let (of_left, of_right) = (of_left?, of_right?);
        let (mut parents, mut keys, mut places, mut lengths) = (vec![], vec![], [vec![], vec![]], vec![]);
        for row in 0..rows {
            let before = parents.len();
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                let range = |map: &arrow::array::MapArray| {
                    map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize
                };
                for place in range(left) {
                    let partner = range(right).find(|other| of_right.row(*other) == of_left.row(place));
                    keys.push((0, place));
                    places[0].push(Some(place as u32));
                    places[1].push(partner.map(|partner| partner as u32));
                    parents.push(row as u32);
                }
                for place in range(right) {
                    if range(left).all(|other| of_left.row(other) != of_right.row(place)) {
                        keys.push((1, place));
                        places[0].push(None);
                        places[1].push(Some(place as u32));
                        parents.push(row as u32);
                    }
                }
            }
            lengths.push(parents.len() - before);
        }
        let keys = interleave(&[left.keys().as_ref(), right.keys().as_ref()], &keys)?;
        let [of_left, of_right] = places.map(UInt32Array::from);
        let (l, r) = (take(left.values(), &of_left, None)?, take(right.values(), &of_right, None)?);
        let values = lambda.run(&[keys.clone(), l, r], &parents.into())?;
        let valid = (0..rows).map(|row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))).collect();
        map_of_entries(keys, values, offsets(&lengths), valid, &self.returns)
    }
}

/// Places of the elements for which the lambda is TRUE, and how many each row keeps.
fn kept(elements: &Elements, truth: &BooleanArray) -> (UInt32Array, Vec<usize>) {
    let mut lengths = vec![0usize; elements.lengths.len()];
    let mut places = Vec::new();
    for (place, row) in elements.parents.values().iter().enumerate() {
        if truth.is_valid(place) && truth.value(place) {
            lengths[*row as usize] += 1;
            places.push(place as u32);
        }
    }
    (places.into(), lengths)
}

/// Whether one element decides (`exists`: by TRUE, `forall`: by FALSE); NULL where none does and one is unknown.
fn any(elements: &Elements, truth: &BooleanArray, decides: bool) -> BooleanArray {
    let (mut result, mut from) = (BooleanBuilder::new(), 0);
    for (row, length) in elements.lengths.iter().enumerate() {
        let (mut decided, mut unknown) = (false, false);
        for place in from..from + length {
            match truth.is_valid(place) {
                true => decided |= truth.value(place) == decides,
                false => unknown = true,
            }
        }
        from += length;
        let there = elements.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        result.append_option(match (there, decided, unknown) {
            (false, ..) | (true, false, true) => None,
            (true, true, _) => Some(decides),
            (true, false, false) => Some(!decides),
        });
    }
    result.finish()
}

/// Merge sort, which keeps its head whatever the comparison says.
fn merge_sorted(places: Vec<u32>, before: &mut dyn FnMut(u32, u32) -> Result<bool>) -> Result<Vec<u32>> {
    if places.len() < 2 {
        return Ok(places);
    }
    let (left, right) = places.split_at(places.len() / 2);
    let (left, right) = (merge_sorted(left.to_vec(), before)?, merge_sorted(right.to_vec(), before)?);
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    let mut sorted = Vec::with_capacity(places.len());
    while let (Some(l), Some(r)) = (left.peek().copied(), right.peek().copied()) {
        if before(l, r)? {
            sorted.extend(left.next());
        } else {
            sorted.extend(right.next());
        }
    }
    sorted.extend(left.chain(right));
    Ok(sorted)
}

//! Columns into upload memory.
//!
//! Comes in: a mapped buffer, the batch and its [`Survey`]. Goes out: the arena, unmapped and ready to be copied or bound.
//! Upload buffers are mapped again behind the caller's back and go round, so that a batch costs one pass over its columns
//! and no allocation. Fails with [`KernelError::DeviceLost`] when a buffer cannot be mapped.

use std::sync::{Arc, Mutex};

use wgpu::{Buffer, BufferDescriptor, BufferUsages, MapMode, WriteOnly};

use super::lost;
use super::survey::Survey;
use super::worker::Handle;
use crate::compose::Form;
use crate::error::KernelError;
use crate::program::{Batch, Bits, Column};

/// Upload buffers kept: one being written, one on the device, one being mapped again.
const KEPT: usize = 3;
/// Least size of an upload buffer.
const SMALLEST: u64 = 64 << 10;

/// Mapped buffers that wait for a batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Uploads {
    ready: Arc<Mutex<Vec<Buffer>>>,
}

impl Uploads {
    /// A mapped buffer of at least `bytes`.
    pub fn acquire(&self, handle: &Handle, bytes: u64) -> Result<Buffer, KernelError> {
        handle.check()?;
        // Callbacks of finished maps run here.
        let _ = handle.device.poll(wgpu::PollType::Poll);
        if let Ok(mut ready) = self.ready.lock()
            && let Some(found) = ready.iter().position(|buffer| buffer.size() >= bytes)
        {
            return Ok(ready.swap_remove(found));
        }
        let usage = if handle.unified { BufferUsages::STORAGE } else { BufferUsages::COPY_SRC };
        let buffer = handle.device.create_buffer(&BufferDescriptor {
            label: Some("upload"),
            size: bytes.next_power_of_two().max(SMALLEST),
            usage: usage | BufferUsages::MAP_WRITE,
            mapped_at_creation: true,
        });
        handle.check()?;
        Ok(buffer)
    }

    /// Gives a buffer back, to be mapped for another batch.
    pub fn release(&self, buffer: Buffer) {
        let ready = self.ready.clone();
        let mapped = buffer.clone();
        buffer.map_async(MapMode::Write, .., move |result| {
            if let (Ok(()), Ok(mut ready)) = (result, ready.lock()) {
                ready.push(mapped);
                // Drop the smallest: batches tend to grow to a size and stay there.
                if ready.len() > KEPT {
                    ready.sort_by_key(|buffer| std::cmp::Reverse(buffer.size()));
                    ready.truncate(KEPT);
                }
            }
        });
    }
}

/// Writes the batch into `buffer` as surveyed and unmaps it.
pub(super) fn write(buffer: &Buffer, batch: &Batch<'_>, survey: &Survey) -> Result<(), KernelError> {
    {
        let mut view = buffer
            .slice(..survey.words * 4)
            .get_mapped_range_mut()
            .map_err(|error| lost(format!("upload memory cannot be written: {error}")))?;
        let mut arena = Arena(view.slice(..));
        for (column, (form, region)) in batch.columns.iter().zip(survey.forms.iter().zip(&survey.regions)) {
            let at = region.at;
            match (*column, form) {
                (_, Form::Unused) => {}
                (Column::I64 { values, valid }, Form::Narrow | Form::Shifted) => {
                    let distance = |&value: &i64| ((value.wrapping_sub(region.base) as u64) >> region.shift) as u32;
                    arena.words(at, values.iter().map(distance), batch.rows);
                    arena.bits(region.valid_at, valid, batch.rows);
                }
                (Column::I64 { values, valid }, _) => {
                    arena.bytes(at, bytemuck::cast_slice(values), batch.rows * 8);
                    arena.bits(region.valid_at, valid, batch.rows);
                }
                (Column::F64 { values, valid }, _) => {
                    arena.bytes(at, bytemuck::cast_slice(values), batch.rows * 8);
                    arena.bits(region.valid_at, valid, batch.rows);
                }
                (Column::Code { codes, .. }, _) => arena.codes(at, codes, region.lanes, batch.rows),
                (Column::Truth(values), _) => arena.bytes(at, values, batch.rows),
            }
        }
        for (table, &at) in batch.tables.iter().zip(&survey.tables) {
            arena.bytes(at, table, table.len());
        }
        for (table, &at) in batch.hll_tables.iter().zip(&survey.hll_tables) {
            arena.bytes(at, bytemuck::cast_slice(table), table.len() * 4);
        }
    }
    buffer.unmap();
    Ok(())
}

/// Write-only memory, addressed by words.
struct Arena<'a>(WriteOnly<'a, [u8]>);

impl Arena<'_> {
    /// Bytes of a converted column that are gathered before they are written: upload memory may be uncached, where only
    /// long writes are fast.
    const CHUNK: usize = 1024;

    fn bytes(&mut self, at: u32, source: &[u8], count: usize) {
        let at = at as usize * 4;
        let source = source.get(..count).unwrap_or(source);
        self.0.slice(at..at + source.len()).copy_from_slice(source);
    }

    fn words(&mut self, at: u32, words: impl Iterator<Item = u32>, count: usize) {
        let mut words = words.take(count);
        let mut at = at as usize * 4;
        let mut chunk = [0u32; Self::CHUNK];
        loop {
            let mut filled = 0;
            for (to, word) in chunk.iter_mut().zip(&mut words) {
                *to = word;
                filled += 1;
            }
            let bytes: &[u8] = bytemuck::cast_slice(&chunk[..filled]);
            self.0.slice(at..at + bytes.len()).copy_from_slice(bytes);
            at += bytes.len();
            if filled < Self::CHUNK {
                return;
            }
        }
    }

    fn codes(&mut self, at: u32, codes: &[u32], lanes: u32, rows: usize) {
        let codes = codes.get(..rows).unwrap_or(codes);
        match lanes {
            0 => self.bytes(at, bytemuck::cast_slice(codes), codes.len() * 4),
            1 => {
                let pair = |pair: &[u32]| pair.iter().rev().fold(0, |word, code| word << 16 | code);
                self.words(at, codes.chunks(2).map(pair), codes.len());
            }
            _ => {
                let quad = |quad: &[u32]| quad.iter().rev().fold(0, |word, code| word << 8 | code);
                self.words(at, codes.chunks(4).map(quad), codes.len());
            }
        }
    }

    /// Validity bits from the byte that holds row 0's.
    fn bits(&mut self, at: u32, valid: Option<Bits<'_>>, rows: usize) {
        let Some(valid) = valid else { return };
        let from = valid.offset >> 3;
        let to = (valid.offset + rows).div_ceil(8);
        let bytes = valid.bytes.get(from..to).unwrap_or(&[]);
        self.bytes(at, bytes, bytes.len());
    }
}

//! Sharing out rows of activations, and the forms in which they enter matrices.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use stonechat_kernels::activations::{BLOCK, HALF};
use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Parts, Split};
use stonechat_kernels::{Activations, Level, Line, Quantized, QuantizedMut, Scratch, Workers};

use crate::plan::ActivationMode;

/// Lets the workers claim `parts` until none are left, each with scratch memory of its own. Reports whether any
/// was not finite.
pub(crate) fn share_out<P: Parts>(
    workers: &dyn Workers,
    parts: P,
    scratch: &mut Scratch<'_>,
    work: impl Fn(usize, P::Part, &mut [Line]) -> Result<(), NotFinite> + Sync,
) -> Result<(), NotFinite> {
    let (parts, scratch, failed) = (Split::new(parts), scratch.split(), AtomicBool::new(false));
    workers.run(&|| {
        let Some((_, lines)) = scratch.claim() else { return };
        while let Some((index, part)) = parts.claim() {
            if work(index, part, lines).is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        }
    });
    if failed.into_inner() { Err(NotFinite) } else { Ok(()) }
}

/// What enters a matrix: rows in f32 and in int8.
pub(crate) struct Input<'a> {
    /// t x widest.
    pub f32: &'a mut [f32],
    /// The same in int8: values, scales and sums.
    pub q: &'a mut [i8],
    pub d: &'a mut [f32],
    pub sums: &'a mut [i16],
    pub activations: ActivationMode,
    /// Whether a matrix of the model is stored in floats, and so reads the f32 form.
    pub float_matrices: bool,
}

/// The forms that are asked for, in parts that workers claim.
pub(crate) type InputParts<'a> =
    (Option<Chunks<'a, f32>>, Option<(Chunks<'a, i8>, Chunks<'a, f32>, Chunks<'a, i16>)>);

/// One of these parts.
pub(crate) type InputPart<'a> = <InputParts<'a> as Parts>::Part;

/// How many numbers of a row a part takes when the row of one token is shared out among `workers`: whole blocks, or the
/// whole row where there are none.
pub fn share(cols: usize, workers: usize) -> usize {
    if cols.is_multiple_of(BLOCK) { cols.div_ceil(workers).next_multiple_of(BLOCK) } else { cols }
}

impl Input<'_> {
    /// Whether rows of `cols` have an int8 form: whole blocks of 32, and asked for.
    fn has_int8(&self, cols: usize) -> bool {
        self.activations == ActivationMode::Q8 && cols.is_multiple_of(BLOCK)
    }

    /// `tokens` rows of `cols` in parts of `chunk`; the f32 form only where something reads it.
    pub fn parts(&mut self, tokens: usize, cols: usize, chunk: usize) -> InputParts<'_> {
        self.parts_with(0..tokens, cols, chunk, false)
    }

    /// As [`parts`](Self::parts), with the f32 form.
    pub fn parts_with_f32(&mut self, tokens: usize, cols: usize, chunk: usize) -> InputParts<'_> {
        self.parts_with(0..tokens, cols, chunk, true)
    }

    /// As [`parts`](Self::parts), of some of the rows, with the f32 form where it is asked for.
    pub fn parts_with(&mut self, rows: Range<usize>, cols: usize, chunk: usize, f32: bool) -> InputParts<'_> {
        let int8 = self.has_int8(cols);
        let f32 = f32 || self.float_matrices || !int8;
        let (from, to) = (rows.start * cols, rows.end * cols);
        let f32 = f32.then(|| Chunks::new(&mut self.f32[from..to], chunk));
        let int8 = int8.then(|| {
            let q = Chunks::new(&mut self.q[from..to], chunk);
            let d = Chunks::new(&mut self.d[from / BLOCK..to / BLOCK], chunk / BLOCK);
            (q, d, Chunks::new(&mut self.sums[from / HALF..to / HALF], chunk / HALF))
        });
        (f32, int8)
    }

    /// Copies some rows of another input, in every form that it has.
    pub fn copy_rows(
        &mut self,
        from: &Self,
        rows: &[u32],
        cols: usize,
        workers: &dyn Workers,
        scratch: &mut Scratch<'_>,
    ) -> Result<(), NotFinite> {
        let parts = self.parts(rows.len(), cols, cols);
        share_out(workers, parts, scratch, |row, (f32, int8), _| {
            let row = rows[row] as usize;
            if let Some(out) = f32 {
                out.copy_from_slice(&from.f32[row * cols..][..cols]);
            }
            if let Some((q, d, sums)) = int8 {
                q.copy_from_slice(&from.q[row * cols..][..cols]);
                d.copy_from_slice(&from.d[row * cols / BLOCK..][..cols / BLOCK]);
                sums.copy_from_slice(&from.sums[row * cols / HALF..][..cols / HALF]);
            }
            Ok(())
        })
    }

    /// The first `tokens` rows of `cols`, as a matrix reads them.
    pub fn read(&self, tokens: usize, cols: usize) -> Activations<'_> {
        self.rows(0..tokens, cols)
    }

    /// Some rows of `cols`, likewise.
    pub fn rows(&self, rows: Range<usize>, cols: usize) -> Activations<'_> {
        let (from, to) = (rows.start * cols, rows.end * cols);
        let quantized = self.has_int8(cols).then(|| Quantized {
            q: &self.q[from..to],
            d: &self.d[from / BLOCK..to / BLOCK],
            sums: &self.sums[from / HALF..to / HALF],
        });
        Activations { cols, f32: &self.f32[from..to], quantized }
    }
}

/// Writes `len` numbers that `compute` gives, in the forms of `part`.
pub(crate) fn enter(
    level: Level,
    (f32, int8): InputPart<'_>,
    len: usize,
    lines: &mut [Line],
    compute: impl FnOnce(&mut [f32], &mut [Line]) -> Result<(), NotFinite>,
) -> Result<(), NotFinite> {
    let (scratch, lines) = carve::<f32>(lines, len);
    let row = f32.unwrap_or(scratch);
    compute(row, lines)?;
    match int8 {
        Some((q, d, sums)) => elementwise::quantize(level, row, &mut QuantizedMut { q, d, sums }),
        None if row.iter().all(|x| x.is_finite()) => Ok(()),
        None => Err(NotFinite),
    }
}

//! `stonechat quantize`: a model file with fewer bits for each weight.

use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};

use stonechat_runtime::convert::Folder;
use stonechat_runtime::quantize::{self, Source};
use stonechat_runtime::{Interrupt, Pool, default_threads};

use crate::args::QuantizeArgs;
use crate::engine;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Runs the verb.
pub fn run(args: &QuantizeArgs) -> Result<(), Failure> {
    let input = Path::new(&args.input);
    if input.is_dir() {
        let folder = Folder::open(input)?;
        // Its other files are the model, too; what was converted before is not.
        let files = std::fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
        let files: Vec<_> = files.filter(|path| path.extension().is_none_or(|kind| kind != "gguf")).collect();
        output::check(&args.output, files.iter().map(PathBuf::as_path))?;
        return write(args, input, &folder.source()?);
    }
    let file = engine::file(Some(&args.input))?;
    let gguf = engine::open(&file)?;
    write(args, file.path(), &Source::from_gguf(&file, &gguf))
}

fn write(args: &QuantizeArgs, input: &Path, source: &Source<'_>) -> Result<(), Failure> {
    output::check(&args.output, source.files().iter().map(|file| file.path()))?;
    let threads = engine::threads("-t", args.threads)?.unwrap_or_else(default_threads);
    let interrupt = Interrupt::catch()?;
    let pool = Pool::new(threads)?;
    pool.place_caller();
    let mut progress = Progress::new("quantizing");
    let stop = || interrupt.is_raised();
    let mut show = |done, total| progress.show(done, total);
    let result = quantize::quantize(source, args.ty, &args.output, &pool, &stop, &mut show);
    drop(progress);
    let quantize::Quantized { types, bytes } = result?;
    // Once it is there: a failure is one sentence.
    if let Some(format) = quantize::requantized(source, args.ty) {
        let input = input.display();
        // Advice that nobody may be there to read.
        let _ = writeln!(
            stderr(),
            "warning: {input} has weights in {format} already; quantizing the original model would lose less"
        );
    }
    let types: Vec<_> = types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let output = args.output.display();
    writeln!(stdout(), "{output}: {}, tensors {}, {bytes} bytes", args.ty, types.join(" + "))?;
    Ok(())
}

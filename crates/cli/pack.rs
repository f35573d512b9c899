//! `stonechat pack`: a model file as the kernels like to read it.

use std::io::{Write, stdout};

use stonechat_runtime::{Interrupt, pack};

use crate::args::PackArgs;
use crate::engine;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Runs the verb.
pub fn run(args: &PackArgs) -> Result<(), Failure> {
    let file = engine::file(Some(&args.input))?;
    let gguf = engine::open(&file)?;
    output::check(&args.output, [file.path()])?;
    let interrupt = Interrupt::catch()?;
    let mut progress = Progress::new("packing");
    let result = pack::pack(&file, &gguf, &args.output, &|| interrupt.is_raised(), &mut |done, total| {
        progress.show(done, total);
    });
    drop(progress);
    let pack::Packed { packed, copied, bytes } = result?;
    writeln!(
        stdout(),
        "{}: {packed} matrices packed, {copied} tensors copied, {bytes} bytes",
        args.output.display()
    )?;
    Ok(())
}

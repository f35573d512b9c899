//! `stonechat pack`: a model file as the kernels like to read it.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Instant;

use stonechat_runtime::{Interrupt, MappedFile, pack};

use crate::args::PackArgs;
use crate::engine;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(args: &PackArgs) -> Result<(), Failure> {
    let file = MappedFile::open(engine::locate(Some(&args.input))?)?;
    let gguf = engine::open(&file)?;
    // A file in this place is replaced, by renaming: a folder, a device or the model itself must not be.
    if let Ok(there) = args.output.metadata() {
        let output = args.output.display();
        if !there.is_file() {
            return Err(Failure::Usage(format!("{output} is no file; name the file to write")));
        }
        if file.path().canonicalize().ok() == args.output.canonicalize().ok() {
            return Err(Failure::Usage(format!("{output} is the model itself; name another file to write")));
        }
    }
    let interrupt = Interrupt::catch()?;
    let start = Instant::now();
    let visible = stderr().is_terminal();
    let mut shown = None;
    let result = pack::pack(&file, &gguf, &args.output, &|| interrupt.is_raised(), &mut |done, total| {
        let percent = done * 100 / total.max(1);
        if visible && start.elapsed().as_millis() > 500 && shown != Some(percent) {
            eprint!("\rpacking {percent} %");
            shown = Some(percent);
        }
    });
    if shown.is_some() {
        eprint!("\r\x1b[K");
    }
    let pack::Packed { packed, copied, bytes } = result?;
    writeln!(
        stdout(),
        "{}: {packed} matrices packed, {copied} tensors copied, {bytes} bytes",
        args.output.display()
    )?;
    Ok(())
}

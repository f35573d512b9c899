//! Files that verbs write: where one must not be.

use std::path::Path;

use crate::failure::Failure;

/// Whether a file may be written to `output`. One that is there will be replaced, by renaming: a folder, a device or one
/// of the `inputs` must not be.
pub fn check<'p>(output: &Path, inputs: impl IntoIterator<Item = &'p Path>) -> Result<(), Failure> {
    let Ok(there) = output.metadata() else { return Ok(()) };
    if !there.is_file() {
        return Err(Failure::Usage(format!("{} is no file; name the file to write", output.display())));
    }
    let real = output.canonicalize().ok();
    if inputs.into_iter().any(|input| input.canonicalize().ok() == real) {
        let output = output.display();
        return Err(Failure::Usage(format!("{output} is the model itself; name another file to write")));
    }
    Ok(())
}

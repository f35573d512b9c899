//! The line that brings prompts: a serial port, or the program's own input and output.
//!
//! In: a device, or nothing. Out: a [`Line`], which `embedded-io` can read, write, and ask whether there is anything to read. A
//! terminal is asked to hand out each key at once and to echo nothing, as a serial port does; it gets its settings back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use embedded_io::{ErrorType, Read, ReadReady, Write};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// A line.
pub struct Line {
    input: File,
    output: File,
    /// What the terminal was set to.
    before: Option<Termios>,
    is_standard: bool,
}

impl Line {
    /// Standard input and output.
    pub fn standard() -> io::Result<Self> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        let (input, output) = (copy(stdin().as_fd())?, copy(stdout().as_fd())?);
        let before = isatty(&input).then(|| tcgetattr(&input).ok()).flatten();
        if let Some(before) = &before {
            let mut keys = before.clone();
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            // A terminal that refuses shows what is typed twice, and works.
            let _ = tcsetattr(&input, OptionalActions::Now, &keys);
        }
        Ok(Self { input, output, before, is_standard: true })
    }

    /// A serial port.
    pub fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)?;
        if !isatty(&file) {
            return Err(io::Error::other("it is no serial port"));
        }
        let mut settings = tcgetattr(&file)?;
        settings.make_raw();
        settings.set_speed(baud).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        tcsetattr(&file, OptionalActions::Now, &settings)?;
        // Opening waited for no carrier; writing is to wait for room.
        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
        let output = file.try_clone()?;
        Ok(Self { input: file, output, before: None, is_standard: false })
    }

    /// Whether it is standard input, where Ctrl-D means the end and is no noise.
    pub const fn is_standard(&self) -> bool {
        self.is_standard
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.input, OptionalActions::Now, before);
        }
    }
}

impl ErrorType for Line {
    type Error = io::Error;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.input, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default()))?;
        // A line that was hung up has its end to read.
        Ok(!fds[0].revents().is_empty())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

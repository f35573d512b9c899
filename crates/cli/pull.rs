//! `stonechat pull`: models by name.

use std::io::{Write, stdout};
use std::path::PathBuf;

#[cfg(feature = "built-in")]
use stonechat_runtime::built_in;
use stonechat_runtime::{Home, manifest};

use crate::args::PullArgs;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(args: &PullArgs) -> Result<(), Failure> {
    let home = Home::locate()?;
    let Some(name) = &args.name else {
        let mut out = stdout().lock();
        for manifest in manifest::all() {
            let there = if home.pulled(manifest).is_some() { "here" } else { "" };
            let mib = manifest.size as f64 / 1_048_576.0;
            writeln!(
                out,
                "{:<16} {mib:>6.0} MiB  {:<4}  {} ({})",
                manifest.name, there, manifest.title, manifest.licence
            )?;
        }
        #[cfg(feature = "built-in")]
        writeln!(
            out,
            "{:<16} {:>6.0} MiB  here  {} (built in; MIT or Apache-2.0)",
            built_in::NAME,
            built_in::file().len() as f64 / 1_048_576.0,
            built_in::TITLE
        )?;
        return Ok(());
    };
    let path = fetch(manifest::find(name)?, &home)?;
    writeln!(stdout(), "{}", path.display())?;
    Ok(())
}

/// Pulls a model, with a progress bar where somebody sees it.
#[cfg(feature = "pull")]
pub fn fetch(manifest: &manifest::Manifest, home: &Home) -> Result<PathBuf, Failure> {
    use indicatif::{ProgressBar, ProgressStyle};
    use stonechat_runtime::{Interrupt, pull};

    if let Some(path) = home.pulled(manifest) {
        return Ok(path);
    }
    let interrupt = Interrupt::catch()?;
    let style = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let bar = ProgressBar::new(manifest.size)
        .with_style(ProgressStyle::with_template(style).expect("the template is a constant"))
        .with_message(manifest.name.clone());
    let path = pull::pull(manifest, home, &|| interrupt.is_raised(), &mut |event| match event {
        pull::Event::Progress { done, .. } => bar.set_position(done),
        pull::Event::Waiting => {
            bar.println(format!("waiting: {} is being pulled by another process", manifest.name));
        }
        pull::Event::Trying { source } => bar.println(format!("{}: trying {source}", manifest.name)),
        pull::Event::Retrying { reason } => bar.println(format!("trying again: {reason}")),
        pull::Event::Unpacking => bar.println("unpacking"),
        pull::Event::Failed { error } => bar.println(error.to_string()),
    });
    bar.finish_and_clear();
    Ok(path?)
}

/// Pulls nothing: this build cannot.
#[cfg(not(feature = "pull"))]
pub fn fetch(manifest: &manifest::Manifest, home: &Home) -> Result<PathBuf, Failure> {
    Err(Failure::NoModel(format!(
        "the model '{}' is not here, and this build cannot pull it; put its file at {}",
        manifest.name,
        home.model(manifest).display()
    )))
}

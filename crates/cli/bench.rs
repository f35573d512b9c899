//! `stonechat bench`: how fast this machine computes a model, beside what it could do at most.
//!
//! For each model, level, thread count, depth and test: the model is loaded anew, one repetition warms up and says
//! which logits the work gives, then repetitions are timed. A record says it all (`record`): the time, the machine,
//! its limits, and whatever disturbed the run. Records are written (`output`), set beside earlier ones (`compare`),
//! and drawn (`report`).

pub mod args;
mod compare;
mod facts;
mod limits;
mod measure;
mod output;
mod progress;
mod read;
mod record;
mod report;
mod statistics;
mod work;

use stonechat_core::Model;
use stonechat_kernels::{Level, LevelName};
use stonechat_runtime::engine::Threads;
use stonechat_runtime::system::{self, Cpu};
use stonechat_runtime::{Interrupt, manifest};

use args::BenchArgs;
use facts::ModelFacts;
use measure::Bench;
use output::Writer;
use progress::Progress;
use work::Test;

use crate::engine;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(args: &BenchArgs, levels: &[LevelName]) -> Result<(), Failure> {
    if let Some(page) = &args.report {
        return report::run(page, &args.files);
    }
    let earlier = args.compare.as_deref().map(read::records).transpose()?;
    if !args.files.is_empty() {
        let Some(earlier) = earlier else {
            return Err(Failure::Usage(
                "records were given, but not what to do with them; add --compare EARLIER or --report OUT.html".into(),
            ));
        };
        return compare::run(args.output, &earlier, &read::all(&args.files)?);
    }
    let records = measure(args, levels, earlier.as_deref())?;
    earlier.map_or(Ok(()), |earlier| compare::run(args.output, &earlier, &records))
}

/// Measures, and writes each record.
fn measure(
    args: &BenchArgs,
    levels: &[LevelName],
    earlier: Option<&[record::Record]>,
) -> Result<Vec<record::Record>, Failure> {
    let levels = match levels {
        [] => vec![Level::detect().name()],
        names => {
            names.iter().map(|name| Ok(engine::level(Some(*name))?.name())).collect::<Result<_, Failure>>()?
        }
    };
    let threads = match args.threads.concat() {
        list if list.is_empty() => vec![Threads::default()],
        list => list.into_iter().map(|n| Threads { token: n, batch: n }).collect(),
    };
    let tests = work::tests(args, &levels, &threads)?;
    let default = [manifest::default_model().name.clone()];
    let models = if args.model.is_empty() { &default[..] } else { &args.model };
    // What cannot be measured, or not compared afterwards, is said before anything else is done.
    let models = models.iter().map(|model| check(args, model, &tests)).collect::<Result<Vec<_>, _>>()?;
    if let Some(earlier) = earlier {
        models.iter().try_for_each(|(path, facts)| compare::check(earlier, path, facts))?;
    }

    let mut bench = Bench {
        args,
        interrupt: &Interrupt::catch()?,
        progress: Progress::new(),
        command: command(),
        cpu: Cpu::detect(),
        limits: limits::Known::default(),
    };
    let mut writer = Writer::new(args.output);
    let result = measure_all(&mut bench, &models, &tests, &mut writer);
    writer.finish()?;
    result.map(|()| writer.into_records())
}

fn measure_all(
    bench: &mut Bench<'_>,
    models: &[(String, ModelFacts)],
    tests: &[Test],
    writer: &mut Writer,
) -> Result<(), Failure> {
    let total = models.len() * tests.len();
    for (m, (path, facts)) in models.iter().enumerate() {
        for (t, test) in tests.iter().enumerate() {
            let n = m * tests.len() + t + 1;
            bench
                .progress
                .begin(format!("test {n} of {total}, {}, {} x {}", test.work, test.threads, test.level));
            let record = bench.measure(path, facts, test);
            bench.progress.clear();
            writer.write(record?)?;
        }
    }
    Ok(())
}

/// Opens a model and makes the plan of each test, without taking the memory.
fn check(args: &BenchArgs, name: &str, tests: &[Test]) -> Result<(String, ModelFacts), Failure> {
    let file = engine::file(Some(name))?;
    let path = file.path();
    let gguf = engine::open(&file)?;
    let at_file = |error| Failure::at(path.display(), error);
    let model = Model::from_gguf(&gguf).map_err(at_file)?;
    let facts = ModelFacts::of(&model, model.cost().map_err(at_file)?);
    for test in tests {
        let (needed, most) = (test.work.context(), args.ctx.unwrap_or(facts.context).min(facts.context));
        if needed > most {
            return Err(Failure::Failed(format!(
                "{}: the test {} needs a context of {needed} tokens, but {most} is the most; ask for less with -d, \
                 -p or -n",
                path.display(),
                test.work
            )));
        }
        let options = test.engine_args(args).options(1, Some(test.level))?;
        let plan = options.plan(path, &model)?;
        check_memory(&path.display().to_string(), test, file.len(), plan.bytes())?;
    }
    Ok((path.to_string_lossy().into_owned(), facts))
}

/// Says that a test does not fit before it brings the machine down; and one that has to fetch its weights from the
/// disk again and again measures the disk.
fn check_memory(path: &str, test: &Test, file: usize, arena: usize) -> Result<(), Failure> {
    let Some(available) = system::available_memory() else { return Ok(()) };
    let needed = (file as u64).saturating_add(arena as u64);
    if needed <= available {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{path}: the test {} needs {} of memory ({} for the file and {} beside it), but {} are available; take a \
         smaller model, or less of -d, -p, -n and -b",
        test.work,
        output::mib(needed),
        output::mib(file as u64),
        output::mib(arena as u64),
        output::mib(available)
    )))
}

/// The command line as a shell takes it, the program by its name alone.
fn command() -> String {
    let mut words = vec!["stonechat".to_owned()];
    words.extend(std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy())));
    words.join(" ")
}

/// A word, in quotes where a shell would read more than the word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_asks_for_it() {
        assert_eq!(quoted("-p"), "-p");
        assert_eq!(quoted("/models/a-Q4_0.gguf"), "/models/a-Q4_0.gguf");
        assert_eq!(quoted("two words"), "'two words'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("1-8*2"), "'1-8*2'");
    }
}

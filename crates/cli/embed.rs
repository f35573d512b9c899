//! `stonechat embed`: texts to vectors, which are near each other where the texts mean the same.
//!
//! All texts are tokenized first, so that the plan is for the longest of them. Each is then computed alone, so that its
//! bits do not depend on the others.

use std::io::{IsTerminal, Read, Write, stderr, stdin, stdout};

use serde::Serialize;
use sha2::{Digest, Sha256};
use stonechat_core::vocabulary;
use stonechat_core::{Model, Plan, Pooling, Vocabulary, embedding};
use stonechat_kernels::LevelName;
use stonechat_runtime::engine::Options;
use stonechat_runtime::prompt::encode_raw;
use stonechat_runtime::{Arena, Engine, Interrupt, MappedFile};

use crate::args::{self, EmbedArgs};
use crate::engine;
use crate::failure::Failure;

/// What the model is asked for: the tokens of each text, and how their vectors are pooled.
struct Work {
    texts: Vec<Vec<u32>>,
    pooling: Pooling,
}

/// What a text becomes: a vector, or with `--pooling none` one for each token.
#[derive(Serialize)]
#[serde(untagged)]
enum Embedding {
    Text(Vec<f32>),
    Tokens(Vec<Vec<f32>>),
}

/// The answer for programs, in the shape that OpenAI's interface has.
#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Datum<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Datum<'a> {
    object: &'static str,
    index: usize,
    embedding: &'a Embedding,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Runs the verb.
pub fn run(args: &EmbedArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let texts = Texts::read(args)?;
    let options = args.engine.options(0, cpu)?;
    let plan = |file: &MappedFile, model: &Model<'_>| prepare(args, &options, file, model, &texts);
    let (mut engine, work) = engine::planned(args.model.model.as_deref(), &options, plan)?;
    let interrupt = Interrupt::catch()?;
    let (mut embeddings, mut hash) = (Vec::new(), Sha256::new());
    let mut out = stdout().lock();
    for tokens in &work.texts {
        if interrupt.is_raised() {
            return Err(Failure::Interrupted(None));
        }
        let embedding = embed(args, &mut engine, tokens, work.pooling)?;
        if args.hash {
            embedding.rows().for_each(|row| row.iter().for_each(|x| hash.update(x.to_le_bytes())));
        } else if args.json || args.similarity {
            embeddings.push(embedding);
        } else {
            embedding.rows().try_for_each(|row| write_row(&mut out, row))?;
        }
    }
    if args.hash {
        writeln!(out, "{:x}", hash.finalize())?;
    } else if args.similarity {
        let rows = || embeddings.iter().flat_map(Embedding::rows);
        for a in rows() {
            let cosines: Vec<f32> = rows().map(|b| embedding::cosine(a, b) as f32).collect();
            write_row(&mut out, &cosines)?;
        }
    } else if args.json {
        let path = engine.file().path();
        let model = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        writeln!(out, "{}", answer(&embeddings, &model, work.texts.iter().map(Vec::len).sum())?)?;
    }
    Ok(())
}

/// The texts, and how to name one of them.
struct Texts {
    texts: Vec<Vec<u8>>,
    /// What a text is called before its number.
    name: String,
}

impl Texts {
    /// Those that were given: as words, or a line each of a file or of stdin. None where there are ids.
    fn read(args: &EmbedArgs) -> Result<Self, Failure> {
        let words = || args.texts.iter().map(|text| text.clone().into_bytes()).collect();
        let (texts, name) = match &args.file {
            _ if !args.ids.is_empty() => (Vec::new(), String::new()),
            Some(path) => {
                let text = MappedFile::open(path)?;
                let lines = lines(&text);
                text.check()?;
                (lines, format!("{}: line", path.display()))
            }
            None if args.texts.is_empty() => {
                let mut bytes = Vec::new();
                stdin().read_to_end(&mut bytes).map_err(|error| Failure::at("stdin", error))?;
                (lines(&bytes), "line".into())
            }
            None => (words(), "text".into()),
        };
        if texts.is_empty() && args.ids.is_empty() {
            return Err(Failure::Failed(
                "there is no text to embed; give some after the verb, or a line each by -f or stdin".into(),
            ));
        }
        let texts = Self { texts, name };
        match texts.texts.iter().position(Vec::is_empty) {
            Some(n) => Err(Failure::Failed(format!("{} is empty; leave it out", texts.name(n)))),
            None => Ok(texts),
        }
    }

    fn name(&self, n: usize) -> String {
        format!("{} {}", self.name, n + 1)
    }
}

/// The lines of a text, which may end as Windows ends them.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect()
}

/// Tokenizes the texts, and plans for the longest.
fn prepare(
    args: &EmbedArgs,
    options: &Options,
    file: &MappedFile,
    model: &Model<'_>,
    texts: &Texts,
) -> Result<(Plan, Work), Failure> {
    let at_file = |error: vocabulary::Error| Failure::in_model(file.path(), error);
    let pooling = pooling(args, file, model)?;
    let mut arena = Arena::new(Vocabulary::memory(model.gguf()).map_err(at_file)?)?;
    let vocabulary = Vocabulary::new(model.gguf(), arena.as_mut_slice()).map_err(at_file)?;
    let mut work = Work { texts: Vec::new(), pooling };
    if args.ids.is_empty() {
        let first = vocabulary.bos().filter(|_| vocabulary.add_bos());
        if pooling == Pooling::Cls && first.is_none() {
            let error = "pooling takes the vector of the token with which texts begin, but the vocabulary adds \
                         none (tokenizer.ggml.add_bos_token); choose another way (--pooling)";
            return Err(Failure::at(file.path().display(), error));
        }
        for text in &texts.texts {
            let mut tokens = encode_raw(&vocabulary, text)?;
            tokens.extend(vocabulary.ending());
            work.texts.push(tokens);
        }
    } else {
        work.texts.push(args.ids.clone());
    }
    let most = args.engine.ctx.unwrap_or(model.hyperparameters().context);
    let mut longest = 0;
    for (n, tokens) in work.texts.iter().enumerate() {
        let name = || if args.ids.is_empty() { texts.name(n) } else { "--ids".into() };
        match tokens.len() {
            0 => {
                return Err(Failure::Failed(format!(
                    "{} has no token of this vocabulary; leave it out",
                    name()
                )));
            }
            len if len > most => {
                let (limit, advice) = match args.engine.ctx {
                    Some(_) => ("-c allows", "shorten it, or ask for more"),
                    None => ("the model takes at most", "shorten it, or split it"),
                };
                return Err(Failure::Failed(format!(
                    "{} has {len} tokens, but {limit} {most}; {advice}",
                    name()
                )));
            }
            len => longest = longest.max(len),
        }
    }
    let options = Options { context: options.context.or(Some(longest)), ..options.clone() };
    Ok((options.plan(file.path(), model)?, work))
}

/// The pooling that was asked for, or else that of the file.
fn pooling(args: &EmbedArgs, file: &MappedFile, model: &Model<'_>) -> Result<Pooling, Failure> {
    if let Some(pooling) = args.pooling {
        return Ok(match pooling {
            args::Pooling::None => Pooling::None,
            args::Pooling::Mean => Pooling::Mean,
            args::Pooling::Cls => Pooling::Cls,
            args::Pooling::Last => Pooling::Last,
        });
    }
    let stated = model.pooling().map_err(|error| Failure::in_model(file.path(), error))?;
    if stated.is_none() && stderr().is_terminal() {
        eprintln!("The file names no pooling: the mean of the tokens' vectors is taken (--pooling).");
    }
    Ok(stated.unwrap_or(Pooling::Mean))
}

/// The embedding of a text.
fn embed(
    args: &EmbedArgs,
    engine: &mut Engine,
    tokens: &[u32],
    pooling: Pooling,
) -> Result<Embedding, Failure> {
    let mut rows = Vec::new();
    engine.embed(tokens, pooling, &mut |row| rows.push(row.to_vec()))?;
    if !args.no_normalize {
        rows.iter_mut().for_each(|row| embedding::normalize(row));
    }
    Ok(match (pooling, rows.pop()) {
        (Pooling::None, last) => Embedding::Tokens(rows.into_iter().chain(last).collect()),
        (_, row) => Embedding::Text(row.unwrap_or_default()),
    })
}

impl Embedding {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        match self {
            Self::Text(row) => std::slice::from_ref(row),
            Self::Tokens(rows) => rows,
        }
        .iter()
        .map(Vec::as_slice)
    }
}

/// Numbers on a line of their own, each as short as it can be told from all others.
fn write_row(out: &mut dyn Write, row: &[f32]) -> Result<(), Failure> {
    let texts: Vec<String> = row.iter().map(f32::to_string).collect();
    Ok(writeln!(out, "{}", texts.join(" "))?)
}

fn answer(embeddings: &[Embedding], model: &str, tokens: usize) -> Result<String, Failure> {
    let data = embeddings.iter().enumerate();
    let answer = Answer {
        object: "list",
        data: data.map(|(index, embedding)| Datum { object: "embedding", index, embedding }).collect(),
        model,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    serde_json::to_string(&answer).map_err(|error| Failure::Failed(error.to_string()))
}

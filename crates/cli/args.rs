//! The command line: every verb and flag, with the help that a person learns from.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stonechat_kernels::LevelName;

use crate::bench::args::BenchArgs;
use crate::failure::Failure;

/// Runs quantized language models on small computers: the same bits everywhere, memory known before it is spent.
#[derive(Debug, Parser)]
#[command(name = "stonechat", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:\n  stonechat run \"What is the capital of France?\"\n  \
    stonechat run -m model.gguf -n 64 --temp 0.7 --seed 1 \"Tell me a story\"\n  \
    stonechat plan model.gguf -c 2048\n  stonechat logits -m model.gguf -p \"Hello\" --hash")]
pub struct Program {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which instructions to use; by default the best that the CPU has. Every level gives the same bits; 'bench' takes
    /// a list
    #[arg(
        long = "cpu", global = true, value_name = "LEVEL", env = "STONECHAT_CPU", value_parser = level,
        value_delimiter = ','
    )]
    pub levels: Vec<LevelName>,
}

fn level(text: &str) -> Result<LevelName, String> {
    text.parse().map_err(|error: stonechat_kernels::level::UnknownLevel| error.to_string())
}

/// The verbs.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one")]
pub enum Command {
    /// Answer one prompt, word by word
    #[command(visible_alias = "r")]
    Run(RunArgs),
    /// Hold a conversation
    #[cfg(feature = "chat")]
    #[command(visible_alias = "c")]
    Chat(ChatArgs),
    /// Print the logits that follow a prompt, or their hash, which is the same on every CPU
    Logits(LogitsArgs),
    /// Turn text into token ids
    Tokenize(TokenizeArgs),
    /// Turn texts into vectors, which are near each other where the texts mean the same
    #[cfg(feature = "embed")]
    Embed(EmbedArgs),
    /// Measure how fast this machine computes a model, beside what it could do at most
    Bench(BenchArgs),
    /// Measure how well a model predicts a text, as llama-perplexity does
    Perplexity(PerplexityArgs),
    /// Say which board this is, and what is advised on it: threads, memory, models
    #[cfg(feature = "board")]
    Board(BoardArgs),
    /// Show what a model file says
    Inspect(InspectArgs),
    /// Say every byte that running a model will take
    Plan(PlanArgs),
    /// Fetch a model by name
    Pull(PullArgs),
    /// Lay a model file out so that it runs faster; it gives the same bits
    Pack(PackArgs),
    /// Make a smaller model file, with fewer bits for each weight, or one from a Hugging Face folder
    #[cfg(feature = "quantize")]
    Quantize(QuantizeArgs),
    /// Answer over HTTP: to clients of OpenAI's, llama.cpp's and Ollama's interfaces, and to a browser
    #[cfg(feature = "server")]
    Serve(crate::serve::args::ServeArgs),
    /// Print a completion script for a shell
    #[cfg(feature = "manual")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[cfg(feature = "manual")]
    Man,
}

/// Which model.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// A GGUF file, or the name of a model that is pulled once; by default smollm2-135m
    #[arg(short, long, value_name = "FILE|NAME")]
    pub model: Option<String>,
}

/// What all verbs that compute have in common. Last among the flags of a verb: its heading holds for what follows.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Computing")]
pub struct EngineArgs {
    /// Tokens of context; by default as many as the model takes, up to 4096
    #[arg(short, long, value_name = "N")]
    pub ctx: Option<usize>,
    /// Tokens of a prompt that are computed together
    #[arg(short, long, value_name = "N", default_value_t = 256)]
    pub batch: usize,
    /// Threads that write the answer; by default as many as suit the board, or else one for each physical core, small
    /// cores beside big ones left out
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,
    /// Threads that read the prompt; by default as many as -t says, or as suit the board
    #[arg(long, value_name = "N")]
    pub threads_batch: Option<usize>,
    /// How keys and values are kept: one format for both, or K,V
    #[arg(long, value_name = "K[,V]", value_delimiter = ',')]
    pub kv: Vec<Kv>,
    /// Let activations meet quantized weights in int8 (fast) or f32 (exact, for comparisons)
    #[arg(long, value_name = "FORM", default_value = "q8")]
    pub activations: Activations,
    /// Stay within this much memory beside the mapped file, for instance 400M: chooses context and batch
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<usize>,
}

/// See [`EngineArgs::kv`].
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(non_camel_case_types, reason = "the names that the field uses")]
pub enum Kv {
    /// Single precision
    F32,
    /// Half precision
    F16,
    /// Int8, a scale for each 32
    #[value(name = "q8_0")]
    Q8_0,
    /// Int4, a scale for each 32
    #[value(name = "q4_0")]
    Q4_0,
}

/// See [`EngineArgs::activations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// In int8
    Q8,
    /// In f32
    F32,
}

impl Activations {
    /// The name as it is typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::F32 => "f32",
        }
    }
}

/// A prompt: text or ids.
#[derive(Args, Debug)]
pub struct PromptArgs {
    /// The prompt
    #[arg(short, long = "prompt", value_name = "TEXT", conflicts_with = "ids")]
    pub prompt: Option<String>,
    /// The prompt as token ids, used as they are
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    pub ids: Vec<u32>,
}

/// How a conversation becomes a prompt, and what becomes of the thoughts in an answer.
#[derive(Args, Debug)]
#[command(next_help_heading = "Template and thoughts")]
pub struct TemplateArgs {
    /// A file with the chat template to use in place of the model's own, or 'chatml'
    #[arg(long, value_name = "FILE|chatml")]
    pub chat_template: Option<PathBuf>,
    /// Variables for the chat template as JSON, for instance '{"date": "today"}'
    #[arg(long, value_name = "JSON", value_parser = crate::prompt::variables)]
    pub chat_template_kwargs: Option<crate::prompt::Variables>,
    /// Tokens that a model may think before it answers, if it is one that thinks; 0 for no thought
    #[arg(long, visible_alias = "reasoning-budget", value_name = "N")]
    pub think: Option<usize>,
    /// Whether thoughts are seen (on stderr): auto for only at a terminal, where they are dimmed
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    pub reasoning: Reasoning,
}

/// See [`TemplateArgs::reasoning`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Reasoning {
    /// At a terminal
    Auto,
    /// Always
    Show,
    /// Never
    Hide,
}

/// What guesses the next tokens.
#[derive(Args, Debug)]
#[command(next_help_heading = "Guessing ahead (faster, and the same text)")]
pub struct DraftArgs {
    /// Guess what follows from what the text has said before: of use where an answer repeats its prompt
    #[arg(long, conflicts_with = "model_draft")]
    pub lookup: bool,
    /// Let a smaller model of the same family guess
    #[arg(long, visible_alias = "md", value_name = "FILE|NAME")]
    pub model_draft: Option<String>,
    /// Tokens to guess at once, at most
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub draft_max: usize,
}

/// What an answer must match. It is always complete, however few tokens -n allows.
#[cfg(feature = "grammar")]
#[derive(Args, Debug)]
#[group(multiple = false)]
#[command(next_help_heading = "Form of the answer (one of these)")]
pub struct GrammarArgs {
    /// A JSON schema that the answer matches: a file, or the schema itself, which begins with {
    #[arg(short = 'j', long, value_name = "FILE|SCHEMA")]
    pub json_schema: Option<String>,
    /// The file of a JSON schema
    #[arg(long, visible_alias = "jf", value_name = "FILE")]
    pub json_schema_file: Option<PathBuf>,
    /// A grammar in llama.cpp's language (GBNF): a file, or the grammar itself, which has ::= in it
    #[arg(long, value_name = "FILE|GRAMMAR")]
    pub grammar: Option<String>,
    /// The file of a grammar in llama.cpp's language
    #[arg(long, value_name = "FILE")]
    pub grammar_file: Option<PathBuf>,
    /// The file of a grammar in Lark's language, as llguidance knows it
    #[arg(long, value_name = "FILE")]
    pub lark: Option<PathBuf>,
    /// A regular expression that the whole answer matches
    #[arg(long, value_name = "EXPRESSION")]
    pub regex: Option<String>,
}

/// How the next token is chosen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// How freely to choose; 0 always takes the most likely token
    #[arg(
        long,
        alias = "temperature",
        value_name = "F",
        allow_negative_numbers = true,
        default_value_t = 0.0
    )]
    pub temp: f32,
    /// Choose among the N most likely tokens only; 0 for all
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub top_k: usize,
    /// Choose among the most likely tokens that together reach this probability
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.95)]
    pub top_p: f32,
    /// Choose among tokens at least this fraction as likely as the most likely
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.05)]
    pub min_p: f32,
    /// Choose among tokens about as surprising as expected, until they exceed this probability; 1 for all
    #[arg(long, alias = "typical-p", value_name = "F", allow_negative_numbers = true, default_value_t = 1.0)]
    pub typical: f32,
    /// Choose among tokens at most this many standard deviations below the best; -1 for all
    #[arg(
        long, alias = "top-nsigma", value_name = "F", allow_negative_numbers = true, default_value_t = -1.0
    )]
    pub top_n_sigma: f32,
    /// How often to leave out the most likely tokens; 0 for never
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.0)]
    pub xtc_probability: f32,
    /// Leave out all tokens at least this likely but one; above 0.5 none
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.1)]
    pub xtc_threshold: f32,
    /// Let the temperature follow the model's doubt, this far down and up
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.0)]
    pub dynatemp_range: f32,
    /// How the temperature follows the doubt: to this power
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 1.0)]
    pub dynatemp_exp: f32,
    /// Make recent tokens less likely; 1 leaves them alone
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 1.0)]
    pub repeat_penalty: f32,
    /// How many tokens are recent
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub repeat_last_n: usize,
    /// Make recent tokens less likely, by this much for each time
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.0)]
    pub frequency_penalty: f32,
    /// Make recent tokens less likely, by this much once
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.0)]
    pub presence_penalty: f32,
    /// Make tokens less likely that go on with a repetition (DRY); 0 leaves them alone
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.0)]
    pub dry_multiplier: f32,
    /// By how much each further token of a repetition multiplies that
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 1.75)]
    pub dry_base: f32,
    /// The shortest repetition that counts, in tokens
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dry_allowed_length: usize,
    /// How many tokens are searched for repetitions
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub dry_penalty_last_n: usize,
    /// A text that ends repetitions, in place of newline, ':', '"' and '*'; may be given several times, or be 'none'
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub dry_sequence_breaker: Vec<String>,
    /// Choose by surprise in place of all but the temperature: 2 for Mirostat 2, 0 for not
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub mirostat: u32,
    /// Mirostat's learning rate
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.1)]
    pub mirostat_lr: f32,
    /// The surprise that mirostat aims at, in bits
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 5.0)]
    pub mirostat_ent: f32,
    /// Add a number to a token's logit, for instance 15043+1 or 15043-inf; may be given several times
    #[arg(short = 'l', long, value_name = "ID+F", value_parser = crate::sampling::bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Go on where the model would end
    #[arg(long)]
    pub ignore_eos: bool,
    /// The steps in their order, by name; by default those of --sampler-seq, whose letters stand for penalties, dry,
    /// top-n-sigma, top-k, typ-p, top-p, min-p, xtc and temperature
    #[arg(long, value_name = "A;B;C", conflicts_with = "sampler_seq")]
    pub samplers: Option<String>,
    /// The steps in their order, by letter; by default edskypmxt
    #[arg(long, alias = "sampling-seq", value_name = "ABC")]
    pub sampler_seq: Option<String>,
    /// Equal seeds give equal text, on every machine
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `stonechat run`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stonechat run \"What is the capital of France?\"\n  \
    stonechat run -m model.gguf -c 2048 -n 200 --temp 0.8 --seed 7 \"Tell me a story\"\n  \
    stonechat run -m base.gguf --raw \"Once upon a time\"          the model continues the text\n  \
    stonechat run --json \"Hello\" | jq .timings                  for programs")]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The prompt, in quotes
    #[arg(value_name = "PROMPT", conflicts_with_all = ["prompt", "ids"])]
    pub text: Option<String>,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Take the prompt as it is, without the model's chat template
    #[arg(long, conflicts_with_all = ["chat_template", "chat_template_kwargs", "think"])]
    pub raw: bool,
    /// Tokens to generate at most; by default, or with -1, until the answer or the context ends
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub predict: Option<i64>,
    /// Write the generated ids instead of the text
    #[arg(long)]
    pub print_ids: bool,
    /// Write one JSON object at the end
    #[arg(long)]
    pub json: bool,
    /// With --json, say how likely the model held each token, and the N most likely ones in its place
    #[arg(long, value_name = "N", requires = "json", conflicts_with_all = ["lookup", "model_draft"])]
    #[cfg_attr(feature = "grammar", arg(conflicts_with = "GrammarArgs"))]
    pub logprobs: Option<usize>,
    /// Answers to write, with seeds that follow each other; one of them is chosen, and with --json all are told
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["lookup", "model_draft", "logprobs"])]
    #[cfg_attr(feature = "grammar", arg(conflicts_with = "GrammarArgs"))]
    pub samples: usize,
    /// Which of several answers is chosen
    #[arg(long, value_name = "HOW", default_value = "majority", requires = "samples")]
    pub choose: Choose,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub draft: DraftArgs,
    #[cfg(feature = "grammar")]
    #[command(flatten)]
    pub grammar: GrammarArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// See [`RunArgs::choose`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Choose {
    /// The one that most agree on, or else the likeliest
    Majority,
    /// The one whose tokens the model held most likely, on average
    Logprob,
}

/// `stonechat chat`.
#[cfg(feature = "chat")]
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stonechat chat\n  \
    stonechat chat -m model.gguf --system \"You are a cook.\" --session cook.chat   goes on where it ended\n  \
    stonechat chat < questions.txt > answers.txt                            a message a line")]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the model is told before all else
    #[arg(long, visible_alias = "sys", value_name = "TEXT")]
    pub system: Option<String>,
    /// Keep the conversation in this file after each answer, and go on with it at the next start
    #[arg(long, value_name = "FILE")]
    pub session: Option<PathBuf>,
    /// Tokens of an answer at most; by default, or with -1, until it ends
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub predict: Option<i64>,
    /// End an answer at this text; may be given several times
    #[arg(long, visible_alias = "reverse-prompt", value_name = "TEXT")]
    #[cfg_attr(feature = "grammar", arg(conflicts_with = "GrammarArgs"))]
    pub stop: Vec<String>,
    /// What gives way when the context is full
    #[arg(long, value_name = "WHAT", default_value = "shift")]
    pub overflow: Overflow,
    /// Disk space for beginnings of conversations, which are then never computed twice; 0 for none
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = cache_size)]
    pub prompt_cache: CacheSize,
    /// Let the model call the local commands that this file (TOML or JSON) declares, each after asking
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "grammar", arg(conflicts_with = "GrammarArgs"))]
    pub tools: Option<PathBuf>,
    /// Run them without asking
    #[arg(long, requires = "tools")]
    pub yes: bool,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub draft: DraftArgs,
    #[cfg(feature = "grammar")]
    #[command(flatten)]
    pub grammar: GrammarArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[cfg(feature = "chat")]
impl ChatArgs {
    /// The tokens of an answer at most.
    pub fn predict(&self) -> Result<Option<usize>, Failure> {
        predict(self.predict)
    }
}

/// What `-n` says: nothing for as many as it takes.
pub fn predict(predict: Option<i64>) -> Result<Option<usize>, Failure> {
    match predict {
        None | Some(-1) => Ok(None),
        Some(n @ 1..) => Ok(usize::try_from(n).ok()),
        Some(_) => Err(Failure::Usage("-n must be at least 1, or -1 for as many as it takes".into())),
    }
}

/// See [`ChatArgs::overflow`].
#[cfg(feature = "chat")]
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Overflow {
    /// Nothing: the answer ends
    Stop,
    /// The oldest turns, whole
    Shift,
    /// The oldest turns, after the model has summarised them
    Summarise,
}

#[cfg(feature = "chat")]
impl From<Overflow> for stonechat_runtime::chat::Overflow {
    fn from(overflow: Overflow) -> Self {
        match overflow {
            Overflow::Stop => Self::Stop,
            Overflow::Shift => Self::Shift,
            Overflow::Summarise => Self::Summarise,
        }
    }
}

/// Bytes on a disk; 0 for no cache.
#[cfg(feature = "chat")]
#[derive(Clone, Copy, Debug)]
pub struct CacheSize(pub u64);

/// A size, or `0` or `off`.
#[cfg(feature = "chat")]
fn cache_size(text: &str) -> Result<CacheSize, String> {
    match text {
        "0" | "off" => Ok(CacheSize(0)),
        _ => size(text).map(|bytes| CacheSize(bytes as u64)),
    }
}

/// `stonechat logits`.
#[derive(Args, Debug)]
pub struct LogitsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// A row for each position, not the last one's alone
    #[arg(long)]
    pub all: bool,
    /// Only the SHA-256 of the logits' bits
    #[arg(long)]
    pub hash: bool,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `stonechat tokenize`.
#[derive(Args, Debug)]
#[cfg_attr(
    feature = "tokenizer-json",
    command(after_help = "The model may also be a tokenizer.json, or a folder with one.")
)]
pub struct TokenizeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text; without it, stdin is read byte for byte
    pub text: Option<String>,
    /// Begin with the BOS token
    #[arg(long)]
    pub bos: bool,
    /// Let control tokens in the text count as such
    #[arg(long)]
    pub special: bool,
    /// Write one JSON object with ids and pieces
    #[arg(long)]
    pub json: bool,
}

/// `stonechat embed`.
#[cfg(feature = "embed")]
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  stonechat embed -m minilm.gguf \"A robin sings.\"                     a line of numbers\n  \
    stonechat embed -m minilm.gguf --similarity \"a dog\" \"a cat\" \"a car\"  how near they are\n  \
    stonechat embed -m minilm.gguf -f lines.txt --json | jq .data        for programs"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct EmbedArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The texts, in quotes; without any, stdin is read, a text on each line
    #[arg(value_name = "TEXT", conflicts_with_all = ["file", "ids"])]
    pub texts: Vec<String>,
    /// A file with a text on each line
    #[arg(short, long, value_name = "FILE", conflicts_with = "ids")]
    pub file: Option<PathBuf>,
    /// A text as token ids, used as they are
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    pub ids: Vec<u32>,
    /// How the vectors of a text's tokens become one; by default as the file says, or else their mean
    #[arg(long, value_name = "HOW")]
    pub pooling: Option<Pooling>,
    /// Leave vectors as long as they are, instead of giving each the length 1
    #[arg(long)]
    pub no_normalize: bool,
    /// Write the cosine of every two texts instead: 1 where they mean the same
    #[arg(long, conflicts_with_all = ["json", "hash"])]
    pub similarity: bool,
    /// Only the SHA-256 of the vectors' bits
    #[arg(long, conflicts_with = "json")]
    pub hash: bool,
    /// Write one JSON object, in the shape of OpenAI's interface
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// See [`EmbedArgs::pooling`].
#[cfg(feature = "embed")]
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Pooling {
    /// Not at all: a vector for each token
    None,
    /// Their mean
    Mean,
    /// That of the first token, BERT's [CLS]
    Cls,
    /// That of the last token
    Last,
}

/// `stonechat perplexity`.
#[derive(Args, Debug)]
pub struct PerplexityArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Tokens of a chunk; the second half of each is scored
    #[arg(short, long, value_name = "N", default_value_t = 256)]
    pub ctx: usize,
    /// Chunks to take; by default all
    #[arg(long, value_name = "N")]
    pub chunks: Option<usize>,
    /// Tokens that are computed together
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    pub batch: usize,
    /// Threads; by default one for each physical core
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,
    /// How keys and values are kept: one format for both, or K,V
    #[arg(long, value_name = "K[,V]", value_delimiter = ',', num_args = 1..=2)]
    pub kv: Vec<Kv>,
    /// Let activations meet quantized weights in int8 or f32
    #[arg(long, value_name = "FORM", default_value = "q8")]
    pub activations: Activations,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `stonechat board`.
#[cfg(feature = "board")]
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stonechat board\n  \
    stonechat board -m model.gguf -c 2048      whether it fits; exit code 1, and what would, if not\n  \
    stonechat board --root copy-of-a-pi        what another machine is, by a copy of its /proc and /sys")]
pub struct BoardArgs {
    /// Ask of this model alone: a GGUF file, or the name of a model
    #[arg(short, long, value_name = "FILE|NAME")]
    pub model: Option<String>,
    /// Tokens of context with which models should fit; by default as many as suit the board
    #[arg(short, long, value_name = "N")]
    pub ctx: Option<usize>,
    /// Take what is told from a folder with a copy of another system's /proc and /sys
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `stonechat inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// A GGUF file, or the name of a model
    pub file: String,
    /// List the tensors, too
    #[arg(long)]
    pub tensors: bool,
    /// Write one JSON object: all metadata and tensors
    #[arg(long)]
    pub json: bool,
}

/// `stonechat plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// A GGUF file, or the name of a model
    pub file: String,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
    /// Texts that are computed at the same time, as 'serve' does by default four
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub parallel: usize,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `stonechat pull`.
#[derive(Args, Debug)]
pub struct PullArgs {
    /// The model's name; without it, the names are listed
    pub name: Option<String>,
}

/// `stonechat pack`.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// A GGUF file, or the name of a model
    pub input: String,
    /// The file to write; one that is there is replaced once the new one is whole
    pub output: PathBuf,
}

/// `stonechat quantize`.
#[cfg(feature = "quantize")]
#[derive(Args, Debug)]
#[command(after_help = "Types, from the largest file to the smallest (bits for each weight):\n  \
    F32 (32)  F16, BF16 (16)  Q8_0 (8.5)  Q6_K (6.6)  Q5_1 (6)  Q5_K_M (5.7)  Q5_K_S, Q5_0 (5.5)\n  \
    Q4_1 (5)  Q4_K_M (4.8)  Q4_K_S, IQ4_NL, Q4_0 (4.5)  IQ4_XS (4.3)  Q3_K_L (4.1)  Q3_K_M (3.8)\n  \
    Q3_K_S (3.4)  Q2_K (3)\n\n\
    A folder has config.json, tokenizer.json and *.safetensors, of a llama, mistral, qwen2, qwen3, gemma3 or bert model.\n\n\
    Examples:\n  stonechat quantize model-f16.gguf model-Q4_K_M.gguf Q4_K_M\n  \
    stonechat quantize ./Llama-3.2-1B-Instruct llama.gguf Q8_0     from a folder of safetensors\n  \
    stonechat quantize ./all-MiniLM-L6-v2 minilm.gguf F16          convert, and keep the precision")]
pub struct QuantizeArgs {
    /// A GGUF file, the name of a model, or a folder in Hugging Face's layout
    pub input: String,
    /// The file to write; one that is there is replaced once the new one is whole
    pub output: PathBuf,
    // No doc comment: a name with an underscore would want marks that a terminal shows.
    #[arg(
        value_name = "TYPE",
        help = "What to make of it: Q4_K_M for most purposes, Q8_0 for all but the same answers"
    )]
    pub ty: stonechat_runtime::quantize::FileType,
    /// Threads; by default one for each physical core
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,
}

/// A number of bytes: `1048576`, `400M`, `2G`, powers of 1024.
pub fn size(text: &str) -> Result<usize, String> {
    let bad = || format!("'{text}' is no size from 1 to 2^64 bytes; write for instance 400M or 2G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u32 =
        match text[digits.len()..].to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            _ => return Err(bad()),
        };
    digits.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << unit)).filter(|n| *n > 0).ok_or_else(bad)
}

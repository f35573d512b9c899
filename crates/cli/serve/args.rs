//! The flags of `stonechat serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{EngineArgs, ModelArgs, SamplingArgs, size};

/// `stonechat serve`.
#[derive(Args, Clone, Debug)]
#[command(args_override_self = true)]
#[command(
    after_help = "Examples:\n  stonechat serve                                    http://127.0.0.1:8080, for this machine alone\n  \
    stonechat serve -m model.gguf --host 0.0.0.0 --api-key-file keys.txt\n  \
    stonechat serve --config kiosk.toml --check        says whether the file is right, and ends\n\n\
    A file for --config has the flags as keys: port = 8080, api-key-file = \"keys.txt\", cors = [\"https://example.org\"]"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct ServeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A name by which the model is asked for, in place of its own; may be given several times
    #[arg(short, long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// A model for embeddings, which is asked for by its own name: a GGUF file, or a name
    #[arg(long, value_name = "FILE|NAME")]
    pub embedding_model: Option<String>,
    /// Take flags from this file (TOML); those of the command line win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say whether all flags and files are right, and end
    #[arg(long)]
    pub check: bool,
    /// Leave the process all its rights. By default, on Linux, it gives up those that serving does not need: docs/server.md
    #[arg(long)]
    pub no_sandbox: bool,
    /// Where to listen; other addresses than 127.0.0.1 need a key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port; 0 lets the system choose
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// Texts that are computed at the same time, each with a context of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub parallel: usize,
    /// Requests that may wait; others are told when to come again
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub queue: usize,
    /// Tokens of an answer at most, whatever a request asks
    #[arg(short = 'n', long, value_name = "N")]
    pub predict: Option<usize>,
    /// Tokens that a model may think before it answers, where a request does not say it; 0 for no thought
    #[arg(long, value_name = "N")]
    pub think: Option<usize>,
    /// A file with the chat template to use in place of the model's own, or 'chatml'
    #[arg(long, value_name = "FILE|chatml")]
    pub chat_template: Option<PathBuf>,
    /// Variables for the chat template as JSON
    #[arg(long, value_name = "JSON", value_parser = crate::prompt::variables)]
    pub chat_template_kwargs: Option<crate::prompt::Variables>,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Who may ask.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// A key that requests need; may be given several times. Other users of this machine can see it: better is a file
    #[arg(long, value_name = "KEY", env = "STONECHAT_API_KEY", hide_env_values = true)]
    pub api_key: Vec<String>,
    /// A file with a key on each line
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Let everybody ask who can reach the address
    #[arg(long, conflicts_with_all = ["api_key", "api_key_file"])]
    pub no_key: bool,
    // No doc comment: an address would want marks that a terminal shows.
    #[arg(
        long,
        value_name = "ORIGIN",
        help = "Let pages of this origin ask, for instance https://example.org, or * for all; may be given several times"
    )]
    pub cors: Vec<String>,
    /// The certificate for encrypted connections (PEM), with those that lead to it
    #[arg(long, visible_alias = "ssl-cert-file", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, visible_alias = "ssl-key-file", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// What a client may take.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections at the same time at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub connections: usize,
    /// The size of a request at most
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = size)]
    pub body_limit: usize,
    /// Seconds that a client may take to send a request, or to take an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    /// Seconds that answers have to end once the server is to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_timeout: u64,
    /// How the log on stderr looks. No word of what is asked and answered is in it
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
}

/// See [`LimitArgs::log_format`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Words and values
    Text,
    /// A JSON object on each line
    Json,
}

//! A question to the model, whatever interface it came by.
//!
//! In: the fields of a request that all interfaces have in common. Out: a [`Question`]: the prompt's tokens, and how its answer is
//! to be written and read.

use serde_json::{Value, json};
use stonechat_core::Sampler;
use stonechat_core::sampler::{Mirostat, Sampling};
use stonechat_runtime::Grammar;
use stonechat_runtime::constraint::Constraint;
use stonechat_runtime::grammar::Language;
use stonechat_runtime::speech::Manner;

use crate::error::ApiError;
use crate::fields::Fields;
use crate::ids::random;
use crate::model::Served;

/// Answers to one question at most.
pub const MOST_CHOICES: usize = 16;
/// Stop texts at most: OpenAI has four, llama.cpp no limit.
const MOST_STOPS: usize = 16;
/// Tokens told beside each token at most.
pub const MOST_LOGPROBS: usize = 20;

/// What is asked of the model. See the [module](self).
#[derive(Clone, Debug)]
pub struct Question {
    /// The prompt.
    pub prompt: Vec<u32>,
    /// How the answer marks thoughts and calls.
    pub manner: Manner,
    /// Whether it begins within a thought.
    pub thinking: bool,
    /// Tokens of a thought at most.
    pub think: Option<usize>,
    /// How it is written.
    pub writing: Writing,
    /// What it must match.
    pub grammar: Option<Grammar>,
    /// Whether what it must match is a call of a tool.
    pub is_call: bool,
}

/// How answers are written.
#[derive(Clone, Debug)]
pub struct Writing {
    /// How tokens are picked.
    pub sampling: Sampling,
    /// Added to the logits of tokens.
    pub biases: Vec<(u32, f32)>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Tokens of an answer at most.
    pub most: usize,
    /// Answers, with seeds that follow each other.
    pub choices: usize,
    /// How many of the most likely tokens are told with each, if any.
    pub logprobs: Option<usize>,
}

impl Writing {
    /// Takes what OpenAI's interface and llama.cpp's additions to it say about sampling, stops and the seed. How long an answer
    /// may be, and log probabilities, have other names in each interface.
    pub fn take(fields: &mut Fields, served: &Served) -> Result<Self, ApiError> {
        let sampling = sampling(fields, served.sampling)?;
        let biases = biases(fields, served)?;
        let stop = stops(fields)?;
        let choices = fields.count("n", 1, MOST_CHOICES)?.unwrap_or(1);
        Ok(Self { sampling, biases, stop, most: served.most.unwrap_or(usize::MAX), choices, logprobs: None })
    }

    /// Limits answers to so many tokens.
    pub fn limit(&mut self, most: Option<usize>) {
        self.most = self.most.min(most.unwrap_or(usize::MAX));
    }
}

/// How tokens are picked: by `default` where nothing is said.
fn sampling(fields: &mut Fields, default: Sampling) -> Result<Sampling, ApiError> {
    let mut s = default;
    macro_rules! take {
        ($($name:literal => $field:ident),* $(,)?) => { $(
            if let Some(value) = fields.take($name)? {
                s.$field = value;
                Sampler::new(s).map_err(|error| ApiError::param($name, error.to_string()).with_code("out_of_range"))?;
            }
        )* };
    }
    take!(
        "temperature" => temperature,
        "dynatemp_range" => dynatemp_range,
        "dynatemp_exponent" => dynatemp_exponent,
        "top_p" => top_p,
        "min_p" => min_p,
        "typical_p" => typical_p,
        "top_n_sigma" => top_n_sigma,
        "xtc_probability" => xtc_probability,
        "xtc_threshold" => xtc_threshold,
        "repeat_penalty" => repeat_penalty,
        "frequency_penalty" => frequency_penalty,
        "presence_penalty" => presence_penalty,
    );
    let top_k = fields.take::<i64>("top_k")?.map(|k| usize::try_from(k).unwrap_or(0));
    s.top_k = top_k.unwrap_or(s.top_k);
    let last = fields.take::<i64>("repeat_last_n")?.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
    s.repeat_last = last.unwrap_or(s.repeat_last);
    let tau = fields.take("mirostat_tau")?;
    let eta = fields.take("mirostat_eta")?;
    match fields.take::<u32>("mirostat")? {
        None | Some(0) => (),
        Some(2) => {
            let usual = Mirostat::default();
            s.mirostat = Some(Mirostat { tau: tau.unwrap_or(usual.tau), eta: eta.unwrap_or(usual.eta) });
            Sampler::new(s).map_err(|error| ApiError::param("mirostat", error.to_string()))?;
        }
        Some(_) => return Err(ApiError::param("mirostat", "mirostat must be 0 or 2")),
    }
    // llama.cpp's clients ask for any seed by -1.
    s.seed = match fields.take::<i64>("seed")? {
        Some(seed) if seed != -1 => seed as u64,
        _ => random(),
    };
    Ok(s)
}

/// Tokens and what is added to their logits: an object as OpenAI has it, or llama.cpp's list of pairs.
fn biases(fields: &mut Fields, served: &Served) -> Result<Vec<(u32, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let wrong = |what: &str| {
        ApiError::param(
            NAME,
            format!("logit_bias: {what}; write token ids and numbers, as {{\"15043\": -1}}"),
        )
    };
    let Some(value) = fields.take::<Value>(NAME)? else { return Ok(Vec::new()) };
    let number = |value: &Value| match value {
        // llama.cpp: false forbids a token.
        Value::Bool(false) => Some(f32::NEG_INFINITY),
        value => value.as_f64().map(|bias| bias as f32).filter(|bias| bias.is_finite()),
    };
    let pairs: Option<Vec<(u32, f32)>> = match &value {
        Value::Object(biases) => {
            biases.iter().map(|(id, bias)| Some((id.parse().ok()?, number(bias)?))).collect()
        }
        Value::Array(pairs) => pairs
            .iter()
            .map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([id, bias]) => Some((u32::try_from(id.as_u64()?).ok()?, number(bias)?)),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    let pairs = pairs.ok_or_else(|| wrong("this is no list of biases"))?;
    let ids: Vec<u32> = pairs.iter().map(|(id, _)| *id).collect();
    served.check_ids(NAME, &ids)?;
    Ok(pairs)
}

/// One stop text or several.
fn stops(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let stops = match fields.take::<Value>("stop")? {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(texts)) => {
            let texts: Option<Vec<String>> =
                texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| ApiError::param("stop", "stop has to be a text, or an array of texts"))?
        }
        Some(_) => return Err(ApiError::param("stop", "stop has to be a text, or an array of texts")),
    };
    if stops.len() > MOST_STOPS {
        return Err(ApiError::param(
            "stop",
            format!("there are {} stop texts; give {MOST_STOPS} at most", stops.len()),
        ));
    }
    Ok(stops)
}

/// What `response_format` asks answers to match, and llama.cpp's `json_schema` and `grammar`.
pub fn take_format(fields: &mut Fields, served: &Served) -> Result<Option<Grammar>, ApiError> {
    const FORMAT: &str = "response_format";
    let mut asked = Vec::new();
    if let Some(mut format) = fields.object(FORMAT)? {
        let of = |error: ApiError| error.of(FORMAT);
        match format.need::<String>("type")?.as_str() {
            "text" => (),
            "json_object" => {
                let schema = format.take::<Value>("schema")?.unwrap_or_else(|| json!({ "type": "object" }));
                asked.push(schema_grammar(served, &schema).map_err(of)?);
            }
            "json_schema" => {
                let mut schema = format.object("json_schema")?.ok_or_else(|| {
                    ApiError::param(
                        "response_format.json_schema",
                        "the field 'response_format.json_schema' is missing",
                    )
                })?;
                asked.push(schema_grammar(served, &schema.need("schema")?).map_err(of)?);
            }
            other => {
                return Err(ApiError::param(
                    "response_format.type",
                    format!(
                        "there is no response format '{other}'; there are text, json_object and json_schema"
                    ),
                ));
            }
        }
    }
    if let Some(schema) = fields.take::<Value>("json_schema")? {
        asked.push(schema_grammar(served, &schema).map_err(|error| error.of("json_schema"))?);
    }
    if let Some(text) = fields.take::<String>("grammar")?.filter(|text| !text.is_empty()) {
        asked.push(served.grammar(Language::Gbnf, &text).map_err(|error| error.of("grammar"))?);
    }
    match asked.len() {
        0 | 1 => Ok(asked.pop()),
        _ => Err(ApiError::bad(
            "response_format, json_schema and grammar exclude each other; give one of them",
        )),
    }
}

/// A grammar for what a JSON schema describes.
pub fn schema_grammar(served: &Served, schema: &Value) -> Result<Grammar, ApiError> {
    served.grammar(Language::JsonSchema, &schema.to_string())
}

impl Question {
    /// Refuses what cannot be answered, before anything is computed: a prompt that does not fit, an answer that is promised and
    /// finds no room.
    pub fn check(&mut self, served: &Served) -> Result<(), ApiError> {
        let context = served.facts.context;
        let tokens = self.prompt.len();
        if tokens == 0 {
            return Err(ApiError::bad("the prompt has no token; write something").of("prompt"));
        }
        if tokens >= context {
            let message = format!(
                "the prompt has {tokens} tokens, which leaves no room for an answer in the context of {context}; shorten it"
            );
            return Err(ApiError::bad(message).with_code("context_length_exceeded").of("messages"));
        }
        let room = self.writing.most.min(context - tokens);
        if let Some(grammar) = &mut self.grammar {
            let fewest = grammar.fewest();
            if fewest > room {
                return Err(stonechat_runtime::Error::NoAnswerSoShort { fewest, most: room }.into());
            }
        }
        Ok(())
    }
}

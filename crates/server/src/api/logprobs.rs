//! How likely tokens were, in the forms that clients read.

use serde_json::{Value, json};

use crate::model::Served;
use crate::scheduler::LogProb;

/// A token as it is told: its text, which may be half a character, and its bytes.
fn token(served: &Served, id: u32, logprob: f32) -> Value {
    let bytes = served.piece(id);
    json!({ "id": id, "token": String::from_utf8_lossy(&bytes), "bytes": bytes, "logprob": finite(logprob) })
}

/// JSON knows no infinity: OpenAI tells what is impossible by this number.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

/// For a chat.
pub fn of_chat(served: &Served, tokens: &[(u32, LogProb)]) -> Vec<Value> {
    let row = |(id, said): &(u32, LogProb)| {
        let mut row = token(served, *id, said.logprob);
        row["top_logprobs"] =
            said.most_likely.iter().map(|(id, logprob)| token(served, *id, *logprob)).collect();
        row
    };
    tokens.iter().map(row).collect()
}

/// For a completion, in the older form. `offset` is where the first token's text begins.
pub fn of_completion(served: &Served, tokens: &[(u32, LogProb)], mut offset: usize) -> Value {
    let text = |id: u32| String::from_utf8_lossy(&served.piece(id)).into_owned();
    let (mut texts, mut logprobs, mut most_likely, mut offsets) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, said) in tokens {
        let own = text(*id);
        offsets.push(offset);
        offset += own.chars().count();
        texts.push(own);
        logprobs.push(finite(said.logprob));
        let likely = said.most_likely.iter().map(|(id, logprob)| (text(*id), json!(finite(*logprob))));
        most_likely.push(likely.collect::<serde_json::Map<_, _>>());
    }
    json!({ "tokens": texts, "token_logprobs": logprobs, "top_logprobs": most_likely, "text_offset": offsets })
}

//! Which pre-tokenizer a `tokenizer.json` describes, by the name that GGUF files have for it.
//!
//! llama.cpp goes by the hash of what a tokenizer makes of a test text, and so knows only vocabularies that it has seen. Here the
//! description itself is compared: the expressions that cut a text, one after another, and whether a word that is a
//! token needs no merges. Expressions are those of the models' own files.

use serde_json::Value;

/// As GPT-2's. `tokenizers` calls it `ByteLevel`.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// What `Digits` stands for, with digits apart and together.
const DIGIT: &str = r"\p{N}";
const DIGITS: &str = r"\p{N}+";

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const HAN_HANGUL: &str = "[一-龥ࠀ-一가-퟿]+";
const CJK: &str = "[一-龥぀-ゟ゠-ヿ]+";
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Names, expressions, and whether whole words need no merges where that matters.
const KNOWN: [(&str, &[&str], Option<bool>); 9] = [
    ("gpt-2", &[GPT2], None),
    ("smollm", &[DIGIT, GPT2], None),
    ("llama-bpe", &[LLAMA3], Some(true)),
    ("dbrx", &[LLAMA3], Some(false)),
    ("qwen2", &[QWEN2], None),
    ("tekken", &[TEKKEN], None),
    ("gpt-4o", &[GPT4O], None),
    ("deepseek-coder", &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_HANGUL, DIGIT], None),
    ("deepseek-v3", &[r"\p{N}{1,3}", CJK, DEEPSEEK3], None),
];

/// The name for the pre-tokenizer of this `tokenizer.json`, or what it does that has no name.
pub(super) fn name(tokenizer: &Value) -> Result<&'static str, String> {
    let mut expressions = Vec::new();
    if let Some(description) = tokenizer.get("pre_tokenizer").filter(|description| !description.is_null()) {
        collect(description, &mut expressions)?;
    }
    let whole = tokenizer["model"]["ignore_merges"].as_bool().unwrap_or(false);
    let fits = |(_, known, wholes): &&(&str, &[&str], Option<bool>)| {
        *known == expressions && wholes.is_none_or(|wholes| wholes == whole)
    };
    KNOWN.iter().find(fits).map(|(name, ..)| *name).ok_or_else(|| match expressions[..] {
        [] => "one that cuts nothing".into(),
        _ => expressions.join("  then  "),
    })
}

/// The expressions of a description, in their order.
fn collect<'a>(description: &'a Value, expressions: &mut Vec<&'a str>) -> Result<(), String> {
    let is = |key: &str| description.get(key).and_then(Value::as_bool);
    match description["type"].as_str().unwrap_or_default() {
        "Sequence" => {
            let parts = description["pretokenizers"].as_array();
            parts.into_iter().flatten().try_for_each(|part| collect(part, expressions))?;
        }
        // Files that are older than the switch mean that it is on.
        "ByteLevel" if is("use_regex").unwrap_or(true) => expressions.push(GPT2),
        "ByteLevel" => {}
        "Digits" => {
            expressions.push(if is("individual_digits").unwrap_or(false) { DIGIT } else { DIGITS });
        }
        "Split" => {
            let pattern = &description["pattern"]["Regex"];
            match (pattern.as_str(), description["behavior"].as_str()) {
                (Some(pattern), Some("Isolated" | "Removed")) => expressions.push(pattern),
                _ => return Err("a split by something else than an expression".into()),
            }
        }
        other => return Err(format!("one of the type '{other}'")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_it_does_is_its_name() {
        let split =
            |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"});
        let bytes = json!({"type": "ByteLevel", "use_regex": false});
        let llama3 = json!({"type": "Sequence", "pretokenizers": [split(LLAMA3), bytes]});
        for (pre, whole, expected) in [
            (json!({"type": "ByteLevel"}), false, Ok("gpt-2")),
            (llama3.clone(), true, Ok("llama-bpe")),
            (llama3, false, Ok("dbrx")),
            (
                json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, {"type": "ByteLevel"}]}),
                false,
                Ok("smollm"),
            ),
            (json!({"type": "Metaspace"}), false, Err("one of the type 'Metaspace'".to_owned())),
            (split("x+"), false, Err("x+".to_owned())),
            (json!(null), false, Err("one that cuts nothing".to_owned())),
        ] {
            let tokenizer = json!({"model": {"ignore_merges": whole}, "pre_tokenizer": pre});
            assert_eq!(name(&tokenizer), expected, "{tokenizer}");
        }
    }

    /// The core must know what a converted file will ask for.
    #[test]
    fn files_of_real_models_have_the_names_that_llama_cpp_gives_them() {
        let Some(folder) = std::env::var_os("STONECHAT_GOLDEN").map(std::path::PathBuf::from) else {
            println!("not asked to run; set STONECHAT_GOLDEN to the folder of golden data");
            return;
        };
        for (model, expected) in [("gpt2", "gpt-2"), ("llama3_2", "llama-bpe"), ("qwen2_5", "qwen2")] {
            let file = folder.join("tokenizers").join(model).join("tokenizer.json");
            let tokenizer: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            assert_eq!(name(&tokenizer).as_deref(), Ok(expected), "{model}");
        }
    }
}

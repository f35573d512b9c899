//! Models that embed, and texts that cannot be embedded.
#![cfg(feature = "embed")]

use super::*;

/// A golden llama that wants no BOS before a text.
fn llama_without_bos() -> Vec<u8> {
    let bytes = fs::read(golden("architectures/llama_tied_rope3.gguf")).expect("a golden");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata() {
        writer.metadata(key, value).expect("what the file had");
    }
    writer.metadata("tokenizer.ggml.add_bos_token", stonechat_gguf::Value::Bool(false)).expect("a new key");
    for tensor in gguf.tensors() {
        writer.tensor(tensor.name, &tensor.dims, tensor.ty, tensor.data).expect("what the file had");
    }
    writer.finish().expect("a GGUF file")
}

/// A golden BERT with other values of keys, and without some tensors.
fn bert(change: &dyn Fn(Broken) -> Broken) -> Vec<u8> {
    change(Broken::new("models/bert/bert-BF16.gguf")).0
}

#[test]
fn models_that_embed_and_texts_that_cannot_be_embedded() {
    let folder = Folder::new();
    let bert_file = golden("models/bert/bert-BF16.gguf");
    let bert_file = bert_file.to_str().expect("UTF-8");
    let embed = |flags: &[&str], code, words: &[&str]| {
        refused(&[&["embed", "-m", bert_file], flags].concat(), code, words);
    };
    embed(&["a dog", "", "a cat"], 1, &["text 2 is empty; leave it out"]);
    embed(&[], 1, &["there is no text to embed; give some after the verb"]);
    let file = folder.file("lines", b"a dog\n\na cat\n");
    embed(&["-f", &file], 1, &[&file, "line 2 is empty; leave it out"]);
    embed(&["-f", "no/lines"], 1, &["there is no file no/lines; check the path"]);
    embed(&["--ids", "2,999,3"], 1, &["there is no token 999"]);
    embed(&["-f", &file, "a dog"], 2, &["cannot be used with"]);
    embed(&["--pooling", "sum", "a dog"], 2, &["invalid value 'sum' for '--pooling <HOW>'", "mean"]);
    let long = "a dog ".repeat(200);
    embed(
        &["a dog", &long],
        1,
        &["text 2 has", "tokens, but the model takes at most 320; shorten it, or split"],
    );
    embed(&["-c", "3", "what was it"], 1, &["text 1 has", "but -c allows 3; shorten it, or ask for more"]);
    embed(&["-c", "999", "a dog"], 2, &["longer than the model's 320"]);
    embed(&["--memory", "1K", "a dog"], 1, &["1024 bytes of memory are too few"]);

    // It does not continue texts.
    for verb in [&["run", "hi"][..], &["logits", "-p", "hi"], &["bench", "-p", "4", "-n", "0"]] {
        refused(&[verb, &["-m", bert_file]].concat(), 1, &[bert_file, "stonechat embed"]);
    }

    let broken = |name: &str, change: &dyn Fn(Broken) -> Broken, words: &[&str]| {
        let file = folder.file(&format!("{name}.gguf"), &bert(change));
        refused(&["embed", "-m", &file, "a dog"], 1, &[&[&file[..]], words].concat());
    };
    let pooling = |value: u8| move |file: Broken| file.number("bert.pooling_type", [value, 0, 0, 0]);
    broken("rank", &pooling(4), &["ranks pairs of texts", "choose a way (--pooling)"]);
    broken("pooling", &pooling(9), &["`bert.pooling_type` must be 0 (none), 1 (mean)", AGAIN]);
    let without = |tensor: &'static str| move |file: Broken| file.rename(tensor, &"x".repeat(tensor.len()));
    for tensor in [
        "token_embd_norm.weight",
        "position_embd.weight",
        "blk.1.attn_output_norm.weight",
        "blk.0.ffn_up.bias",
    ] {
        broken("missing", &without(tensor), &[tensor, "is missing"]);
    }
    broken(
        "shape",
        &|file| {
            let place = file.tensor("position_embd.weight", Field::Dimension);
            file.put(place, &16u64.to_le_bytes())
        },
        &["position_embd.weight"],
    );
    broken(
        "cls",
        &|file| file.number("tokenizer.ggml.cls_token_id", 9999u32.to_le_bytes()),
        &["tokenizer.ggml.cls_token_id", AGAIN],
    );
    // Nothing begins the texts of this vocabulary.
    let file = folder.file("first.gguf", &llama_without_bos());
    refused(
        &["embed", "-m", &file, "--pooling", "cls", "a dog"],
        1,
        &[
            &file,
            "the token with which texts begin, but the vocabulary adds none",
            "choose another way (--pooling)",
        ],
    );
}

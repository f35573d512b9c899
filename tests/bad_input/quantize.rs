//! Files that are not to be written, or not from there: `pack` and `quantize`.

use super::*;

/// The model is a copy: a mistake here must not cost the golden.
#[test]
fn a_packed_file_never_takes_the_place_of_a_device_or_of_the_model() {
    let folder = Folder::new();
    let model = folder.file("model.gguf", &Broken::new(MODEL).0);
    let there = folder.0.path().to_str().expect("UTF-8");
    refused(&["pack", &model, there], 2, &[there, "is no file; name the file to write"]);
    refused(&["pack", &model, &model], 2, &[&model, "is the model itself; name another"]);
    assert_eq!(fs::read(&model).expect("the model"), Broken::new(MODEL).0);
    refused(&["pack", "no/model.gguf", "out"], 1, &["there is no file no/model.gguf"]);
}

/// As with `pack`; and a type that there is not, an input that is not there.
#[cfg(feature = "quantize")]
#[test]
fn what_cannot_be_quantized_or_not_to_there() {
    let folder = Folder::new();
    let model = folder.file("model.gguf", &Broken::new(MODEL).0);
    let there = folder.0.path().to_str().expect("UTF-8");
    refused(&["quantize", &model, there, "Q4_0"], 2, &[there, "is no file; name the file to write"]);
    refused(&["quantize", &model, &model, "Q4_0"], 2, &[&model, "is the model itself; name another"]);
    assert_eq!(fs::read(&model).expect("the model"), Broken::new(MODEL).0);
    let words =
        ["there is no type 'Q4_X'; the types are F32, F16, BF16, Q8_0, Q6_K", "Q2_K", "quantize --help"];
    refused(&["quantize", &model, "out.gguf", "Q4_X"], 2, &words);
    refused(&["quantize", &model, "out.gguf", "Q4_0", "-t", "0"], 2, &["-t must be at least 1"]);
    refused(&["quantize", "no/model.gguf", "out.gguf", "Q4_0"], 1, &["there is no file no/model.gguf"]);
    refused(
        &["quantize", &model, "no/such/folder/out.gguf", "Q4_0"],
        1,
        &["cannot create a file in no/such/folder: No such file or directory"],
    );
    let cut = folder.file("cut.gguf", &Broken::new(MODEL).cut(9000).0);
    refused(&["quantize", &cut, "out.gguf", "Q4_0"], 1, &[&cut, AGAIN]);
    // A scale that is NaN, in the first block of a matrix.
    let name = "blk.0.ffn_down.weight";
    let bytes = Broken::new(MODEL).0;
    let offset = Gguf::parse(&bytes).expect("a golden").tensor(name).expect("a tensor").offset as usize;
    let nan = folder.file("nan.gguf", &Broken::new(MODEL).put(offset, &[0xff, 0x7f]).0);
    let output = folder.0.path().join("out.gguf");
    refused(
        &["quantize", &nan, output.to_str().expect("UTF-8"), "Q4_0"],
        1,
        &[name, "a weight that is NaN, infinite or too large for Q4_0"],
    );
    let mut left: Vec<_> = fs::read_dir(folder.0.path())
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["cut.gguf", "model.gguf", "nan.gguf"]);
}

/// A copy of a golden folder in Hugging Face's layout, to be broken.
#[cfg(feature = "quantize")]
struct HuggingFace(TempDir);

#[cfg(feature = "quantize")]
impl HuggingFace {
    fn new(name: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        for entry in fs::read_dir(golden("convert").join(name)).expect("a golden") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("room");
            }
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Replaces some text of a file.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).expect("a text");
        assert!(text.contains(from), "{name} has no {from}");
        fs::write(self.path(name), text.replacen(from, to, 1)).expect("room");
    }

    fn refused(&self, words: &[&str]) {
        let output = self.path("out.gguf");
        refused(&["quantize", self.0.path().to_str().expect("UTF-8"), &output, "Q8_0"], 1, words);
        assert!(!Path::new(&output).exists());
    }
}

#[cfg(feature = "quantize")]
#[test]
fn folders_that_cannot_be_converted() {
    let empty = Folder::new();
    let path = empty.0.path().to_str().expect("UTF-8");
    refused(
        &["quantize", path, "out.gguf", "F16"],
        1,
        &[path, "has no config.json; name a folder with a model"],
    );

    let model = HuggingFace::new("qwen2");
    model.edit("config.json", "\"qwen2\"", "\"qwen99\"");
    model.refused(&[
        "config.json",
        "models of the type 'qwen99' cannot be converted, only llama, mistral, qwen2",
    ]);

    let model = HuggingFace::new("qwen2");
    model.edit("config.json", "{", "{ \"quantization_config\": {\"quant_method\": \"gptq\"},");
    model.refused(&["is quantized already, by gptq; fetch the original"]);

    let model = HuggingFace::new("gemma3");
    model.edit("config.json", "\"full_attention\"\n", "\"sliding_attention\"\n");
    model.refused(&["layer_types are other than every sixth with full attention"]);

    let model = HuggingFace::new("qwen2");
    model.edit("config.json", "\"hidden_size\"", "\"hidden_sise\"");
    model.refused(&["config.json", "it has no hidden_size"]);
    fs::write(model.path("config.json"), "[1").expect("room");
    model.refused(&["config.json", "EOF while parsing", "fetch the file again"]);

    let model = HuggingFace::new("qwen2");
    let weights = fs::read(model.path("model.safetensors")).expect("weights");
    for len in [4, 100, weights.len() - 1] {
        fs::write(model.path("model.safetensors"), &weights[..len]).expect("room");
        model.refused(&["model.safetensors", "not a whole safetensors file", "fetch the file again"]);
    }
    fs::remove_file(model.path("model.safetensors")).expect("a file");
    model.refused(&["has no model.safetensors; fetch the model's safetensors files"]);
    let of_integers = replaced(&weights, b"\"dtype\":\"BF16\"", b"\"dtype\":\"I16\" ");
    fs::write(model.path("model.safetensors"), of_integers).expect("room");
    model.refused(&["is of type I16, and only F32, F16 and BF16 can be converted"]);
    let stray = replaced(&weights, b"model.norm.weight", b"model.gnat.weight");
    fs::write(model.path("model.safetensors"), stray).expect("room");
    model.refused(&["have no tensor norm.weight"]);

    let model = HuggingFace::new("llama");
    fs::remove_file(model.path("model-00002-of-00003.safetensors")).expect("a shard");
    model.refused(&["index.json", "a part of the model, model-00002-of-00003.safetensors, is missing"]);
    model.edit("model.safetensors.index.json", "model-00002-of-00003.safetensors", "../../x.safetensors");
    model.refused(&["which is no file's name"]);

    let model = HuggingFace::new("llama");
    model.edit("tokenizer.json", "{1,3}", "{1,4}");
    model.refused(&["tokenizer.json", "its pre-tokenizer is not known", "{1,4}", "fetch a GGUF file"]);
    fs::remove_file(model.path("tokenizer.json")).expect("a file");
    model.refused(&["has no tokenizer.json; fetch the whole model"]);

    let model = HuggingFace::new("llama");
    let shard = model.path("model-00001-of-00003.safetensors");
    let input = model.0.path().to_str().expect("UTF-8");
    refused(&["quantize", input, &shard, "Q8_0"], 2, &[&shard, "is the model itself; name another"]);
    let tokenizer = model.path("tokenizer.json");
    refused(&["quantize", input, &tokenizer, "Q8_0"], 2, &[&tokenizer, "is the model itself; name another"]);
}

/// The first of these bytes replaced by others of the same length.
#[cfg(feature = "quantize")]
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let place = bytes.windows(from.len()).position(|window| window == from).expect("the text is there");
    let mut bytes = bytes.to_vec();
    bytes[place..place + to.len()].copy_from_slice(to);
    bytes
}

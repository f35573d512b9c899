//! `stonechat tokenize`: where the tokenizer comes from, and what is said when there is none.

mod common;

use std::fs;

use common::{golden, stdout};

#[test]
fn a_gguf_file_of_each_tokenizer_gives_its_tokens() {
    let goldens = fs::File::open(golden("tokenizers/families.json.gz")).expect("a golden");
    let goldens: serde_json::Value =
        serde_json::from_reader(flate2::read::GzDecoder::new(goldens)).expect("JSON");
    for (name, file) in [("wordpiece", "wordpiece"), ("unigram", "unigram"), ("characters", "characters")] {
        let cases = &goldens["tokenizers"][name];
        let file = golden(&format!("tokenizers/{file}.gguf"));
        for at in [12, 22, 52] {
            let text = cases["texts"][at].as_str().expect("a text");
            let file = file.to_str().expect("UTF-8");
            assert_eq!(stdout(["tokenize", "-m", file, text]), cases["ids"][at].to_string(), "{name} {text}");
        }
    }
}

#[cfg(feature = "tokenizer-json")]
mod tokenizer_json {
    use std::fs;
    use std::io::Write;
    use std::process::Stdio;

    use super::common::{golden, stdout, stonechat};

    const TEXT: &str = "The lamp on the windowsill, İI.";

    #[test]
    fn a_folder_and_its_tokenizer_json_give_the_tokens_of_the_gguf_file() {
        let (file, folder) = (golden("tokenizers/wordpiece.gguf"), golden("tokenizers/wordpiece"));
        let json = folder.join("tokenizer.json");
        let [file, folder, json] = [&file, &folder, &json].map(|path| path.to_str().expect("UTF-8"));
        for flags in [&[][..], &["--bos"], &["--special"]] {
            let expected = stdout([&["tokenize", "-m", file, TEXT], flags].concat());
            for model in [folder, json] {
                assert_eq!(
                    stdout([&["tokenize", "-m", model, TEXT], flags].concat()),
                    expected,
                    "{model} {flags:?}"
                );
            }
        }
        let pieces = stdout(["tokenize", "-m", folder, "--bos", "--json", "lamp"]);
        assert!(pieces.contains(r#""pieces":["[CLS]","lamp"]"#), "{pieces}");
    }

    #[test]
    fn beside_a_file_whose_tokenizer_is_not_known_its_tokenizer_json_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("model.gguf");
        let mut bytes = fs::read(golden("tokenizers/wordpiece.gguf")).expect("there");
        let at = bytes.windows(4).position(|word| word == b"bert").expect("its tokenizer");
        bytes[at..at + 4].copy_from_slice(b"rwkv");
        fs::write(&model, bytes).expect("written");
        let model = model.to_str().expect("UTF-8");
        let refused = stonechat().args(["tokenize", "-m", model, TEXT]).output().expect("the program starts");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("`rwkv`, which is not supported"));
        fs::copy(golden("tokenizers/wordpiece/tokenizer.json"), folder.path().join("tokenizer.json"))
            .expect("copied");
        let file = golden("tokenizers/wordpiece.gguf");
        let expected = stdout(["tokenize", "-m", file.to_str().expect("UTF-8"), TEXT]);
        assert_eq!(stdout(["tokenize", "-m", model, TEXT]), expected);
    }

    #[test]
    fn a_folder_without_a_tokenizer_and_a_text_that_is_no_utf8_are_one_sentence_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().to_str().expect("UTF-8");
        let output = stonechat().args(["tokenize", "-m", folder, "x"]).output().expect("the program starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && words.contains("tokenizer.json"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");

        let json = golden("tokenizers/wordpiece");
        let mut child = stonechat()
            .args(["tokenize", "-m", json.to_str().expect("UTF-8")])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        child.stdin.take().expect("piped").write_all(b"caf\xff").expect("written");
        let output = child.wait_with_output().expect("it ends");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && words.contains("no UTF-8 at byte 3"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}

//! The page as a whole.

use super::*;

fn record(board: Option<&str>, logits: &str) -> Record {
    Record {
        model_type: "llama 135M Q4_1".into(),
        model_size: 96_000_000,
        model_n_params: 134_515_008,
        cpu_info: "AMD EPYC".into(),
        board: board.map(str::to_owned),
        n_gen: 128,
        n_threads: 2,
        cpu_level: Some("avx2".into()),
        engine: Some("stonechat 0.1.0".into()),
        command: Some("stonechat bench -m 'a<b>.gguf'".into()),
        median_ts: Some(100.0),
        samples_ts: vec![99.0, 100.0, 101.0],
        logits_sha256: Some(logits.into()),
        ..Record::default()
    }
}

#[test]
fn the_page_needs_nothing_else_and_says_all() {
    let page = render(&[record(None, "aa"), record(Some("Raspberry Pi 5"), "aa")]).unwrap();
    for part in ["llama 135M Q4_1", "AMD EPYC", "Raspberry Pi 5", "<svg", "agree bit for bit", "2 x avx2"] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_a_record_says_is_text_and_never_markup() {
    let page = render(&[record(Some("<script>alert(1)</script>"), "aa")]).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(page.contains("a&lt;b&gt;.gguf"));
}

#[test]
fn different_logits_are_shouted() {
    let page = render(&[record(None, "aa"), record(Some("Raspberry Pi 5"), "bb")]).unwrap();
    assert!(page.contains("The logits differ in tg128") && !page.contains("agree bit for bit"));
}

#[test]
fn records_of_different_models_are_refused() {
    let other = Record { model_n_params: 1, ..record(None, "aa") };
    let Err(Failure::Failed(sentence)) = one_model(&[record(None, "aa"), other]) else { panic!("refused") };
    assert!(sentence.contains("different models") && sentence.contains("134515008"), "{sentence}");
    assert!(one_model(&[record(None, "aa"), record(Some("b"), "bb")]).is_ok());
}

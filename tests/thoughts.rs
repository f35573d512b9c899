//! What a model thinks before it answers, and several answers of which one is chosen, with the default model. It knows no
//! thoughts: a template begins one for it.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

const TEMPLATE: &str = "\
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% if enable_thinking is defined and not enable_thinking %}
</think>

{% endif %}{% endif %}";

fn run(template: &Path, arguments: &[&str]) -> Output {
    let mut command = common::stonechat();
    command
        .args(["run", "-t", "1", "-m"])
        .arg(common::smollm2())
        .arg("--chat-template")
        .arg(template)
        .args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
}

fn json(template: &Path, arguments: &[&str]) -> Value {
    let output = run(template, &[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_thought_ends_at_its_budget_and_is_not_part_of_the_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("thinks.jinja");
    fs::write(&template, TEMPLATE).expect("a file");
    let question = "What is the capital of France?";
    let arguments = ["-n", "24", "--think", "5", question];
    let told = json(&template, &arguments);
    let (answer, thought) =
        (told["text"].as_str().expect("text"), told["reasoning"].as_str().expect("a thought"));
    assert!(!answer.is_empty() && !answer.contains("think>"), "{told}");
    assert!((4..60).contains(&thought.len()), "{told}");
    // Five tokens of thought, its end, and the answer.
    let model = common::smollm2().to_str().expect("UTF-8");
    let tokens = |text: &str| -> Vec<u64> {
        serde_json::from_str(&common::stdout(["tokenize", "-m", model, text])).expect("ids")
    };
    assert_eq!(tokens(thought).len(), 5, "{told}");
    // A pipe gets the answer alone, and the thought goes where it is asked to.
    let output = run(&template, &arguments);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (format!("{answer}\n"), String::new()));
    let output = run(&template, &[&arguments[..], &["--reasoning", "show"]].concat());
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        (format!("{answer}\n"), format!("{thought}\n\n"))
    );
    // Without tokens for a thought the template is told so.
    let told = json(&template, &["-n", "8", "--think", "0", question]);
    assert_eq!(told["reasoning"], "");
    assert_ne!(told["text"], "");
}

#[test]
fn a_model_that_would_end_within_its_thought_answers_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("thinks.jinja");
    fs::write(&template, TEMPLATE).expect("a file");
    // It takes the thought for the answer, and ends.
    let told = json(&template, &["-n", "60", "Say the word yes."]);
    assert_ne!(told["reasoning"], "", "{told}");
    assert_ne!(told["text"], "", "{told}");
}

#[cfg(feature = "chat")]
#[test]
fn a_conversation_thinks_anew_each_time() {
    use common::talk::answers;

    let home = tempfile::tempdir().expect("a folder");
    let template = home.path().join("thinks.jinja");
    fs::write(&template, TEMPLATE).expect("a file");
    let session = home.path().join("a.chat");
    let arguments = [
        "--chat-template",
        template.to_str().expect("UTF-8"),
        "--session",
        session.to_str().expect("UTF-8"),
        "-n",
        "20",
        "--think",
        "4",
        "--prompt-cache",
        "0",
    ];
    let (out, err) = answers(home.path(), &arguments, "What is the capital of France?\nAnd of Italy?\n");
    assert!(!out.contains("<think>") && out.trim().len() > 10 && err.is_empty(), "{out} {err}");
    let kept = String::from_utf8_lossy(&fs::read(&session).expect("a session")).into_owned();
    assert_eq!(kept.matches("\"reasoning\":\"").count(), 2);
}

#[test]
fn answers_to_one_prompt_are_those_of_their_seeds_and_one_is_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("thinks.jinja");
    fs::write(&template, TEMPLATE).expect("a file");
    let arguments = ["-n", "12", "--temp", "1", "--think", "3", "Name a colour."];
    let seeded =
        |seed: &str, more: &[&str]| json(&template, &[&arguments[..], &["--seed", seed], more].concat());
    let told = seeded("7", &["--samples", "3", "--choose", "logprob"]);
    let samples = told["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), 3);
    for (sample, seed) in samples.iter().zip(["7", "8", "9"]) {
        let alone = seeded(seed, &[]);
        assert_eq!((&sample["ids"], &sample["text"]), (&alone["ids"], &alone["text"]), "seed {seed}");
    }
    let logprob = |sample: &Value| sample["mean_logprob"].as_f64().expect("a number");
    let chosen = &samples[told["chosen"].as_u64().expect("an index") as usize];
    let merit = |sample: &Value| (sample["stop"] == "end", logprob(sample));
    assert!(samples.iter().all(|sample| merit(sample) <= merit(chosen)), "{told}");
    assert_eq!((&told["text"], &told["seed"]), (&chosen["text"], &chosen["seed"]));
    let output =
        run(&template, &[&arguments[..], &["--seed", "7", "--samples", "3", "--choose", "logprob"]].concat());
    assert_eq!(text(&output.stdout).trim_end_matches('\n'), chosen["text"].as_str().expect("text"));
}

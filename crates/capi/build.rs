//! Tells the test which platform it compiles C for.

fn main() {
    println!("cargo::rustc-env=STONECHAT_TARGET={}", std::env::var("TARGET").expect("cargo says"));
    println!("cargo::rerun-if-changed=build.rs");
}

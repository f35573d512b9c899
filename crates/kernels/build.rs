//! Tells `math::fma` of CPUs that have the instruction and whose features stable Rust does not show: Cortex-M with an FPU.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(vfma)");
    let target = std::env::var("TARGET").unwrap_or_default();
    // Armv7E-M with FPv4 and Armv8-M with FPv5. (Armv7-A and -R with `eabihf` may have VFPv3, which lacks it.)
    if (target.starts_with("thumbv7em-") || target.starts_with("thumbv8m.main-"))
        && target.ends_with("eabihf")
    {
        println!("cargo:rustc-cfg=vfma");
    }
}

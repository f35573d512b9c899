//! Tells of CPUs that have instructions whose features stable Rust does not show.
//!
//! `vfma`: fused multiply-add, and conversions of half precision, which come with it. Cortex-M with an FPU has them; most
//! 32-bit Linux machines do (`VFPv4`), but not all, so that whoever knows says `RUSTFLAGS="--cfg vfma"`.
//! `dsp`: the SIMD instructions of Armv6 on halves of a register.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(vfma)");
    println!("cargo:rustc-check-cfg=cfg(dsp)");
    println!("cargo:rustc-check-cfg=cfg(armv8m)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let (armv7em, armv8m) = (target.starts_with("thumbv7em-"), target.starts_with("thumbv8m.main-"));
    // Armv7E-M with FPv4 and Armv8-M with FPv5. (Armv7-A and -R with `eabihf` may have VFPv3, which lacks it.)
    if (armv7em || armv8m) && target.ends_with("eabihf") {
        println!("cargo:rustc-cfg=vfma");
    }
    // Armv8-M may lack them: the board asks the chip. Of Armv7-A and -R all have them.
    if armv7em || armv8m || target.starts_with("armv7") || target.starts_with("thumbv7neon-") {
        println!("cargo:rustc-cfg=dsp");
    }
    // Where the assembler wants to be told that the CPU is one of those that have them.
    if armv8m {
        println!("cargo:rustc-cfg=armv8m");
    }
}

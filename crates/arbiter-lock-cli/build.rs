//! Names the target of the build.

fn main() {
    println!("cargo:rerun-if-env-changed=ARBITER_BUILD");
    // A package may name its own build.
    let target = std::env::var("TARGET").unwrap_or_default();
    let build = std::env::var("ARBITER_BUILD").unwrap_or(target);
    println!("cargo:rustc-env=ARBITER_BUILD={build}");
}

//! Compiles the XDP program for the BPF target, to be embedded in the library.
//!
//! In:    bpf/xlb.bpf.c, clang, the headers of linux-libc-dev and libbpf-dev
//! Out:   xlb.bpf.o in OUT_DIR
//! Never: needs kernel headers or a running kernel

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "bpf/xlb.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(message) = compile() {
        println!("cargo::error={}", message.replace('\n', "; "));
        std::process::exit(1);
    }
}

fn compile() -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let out = PathBuf::from(variable("OUT_DIR")?).join("xlb.bpf.o");

    let output = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .arg(format!("-I{}", machine_headers()?))
        .args(["-c", SOURCE, "-o"])
        .arg(&out)
        .output()
        .map_err(|error| {
            format!(
                "cannot run {clang}, which compiles the XDP program: {error}; \
                 on Debian and Ubuntu: apt install clang (or set CLANG)"
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(explain(&String::from_utf8_lossy(&output.stderr)))
}

/// Debian keeps `asm/types.h` in a folder per architecture, which clang does not search when it
/// compiles for the BPF target.
fn machine_headers() -> Result<String, String> {
    let arch = match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86" => "i386".to_owned(),
        other => other.to_owned(),
    };
    Ok(format!("/usr/include/{arch}-linux-gnu"))
}

/// Names the package that holds the header that was not found.
fn explain(stderr: &str) -> String {
    let package = if stderr.contains("'bpf/") {
        Some("libbpf-dev")
    } else if stderr.contains("'linux/") || stderr.contains("'asm/") {
        Some("linux-libc-dev")
    } else {
        None
    };
    match package {
        Some(package) if stderr.contains("file not found") => format!(
            "a header for {SOURCE} is missing; on Debian and Ubuntu: apt install {package}\n{stderr}"
        ),
        _ => format!("clang could not compile {SOURCE}\n{stderr}"),
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

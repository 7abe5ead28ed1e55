//! What the disk itself needs to make a write durable.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::load::Latencies;
use super::trial;

const PAGE: [u8; 4096] = [7; 4096];
const PAGES: u64 = 4096;

/// How long `fdatasync` takes after a write of 4 KiB into a file that has its size already, one after the other.
pub(crate) fn fdatasync() -> Latencies {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = File::create(folder.path().join("pages")).expect("is created");
    (0..PAGES).for_each(|page| write(&file, page));
    file.sync_all().expect("is durable");
    let (begun, lasts, mut latencies) = (Instant::now(), trial::seconds(3), Latencies::new());
    for page in (0..PAGES).cycle() {
        if begun.elapsed() > lasts {
            break;
        }
        write(&file, page);
        let written = Instant::now();
        file.sync_data().expect("is durable");
        latencies.record(written.elapsed());
    }
    latencies
}

fn write(file: &File, page: u64) {
    file.write_all_at(&PAGE, page * PAGE.len() as u64).expect("is written");
}

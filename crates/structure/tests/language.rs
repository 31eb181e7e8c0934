use std::path::Path;
use std::collections::BTreeMap;
use structure::{Kind, first_sentence_hit, hits, prose};

#[test]
fn prose_is_plain() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut counts: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
    let mut firsts = 0;
    for prose in prose(&root) {
        let (words, found) = counts.entry(prose.kind).or_default();
        *words += prose.words();
        for hit in hits(&prose) {
            *found += 1;
            println!("{:?} {}:{}: {} -> {}", prose.kind, prose.path.display(), hit.line, hit.phrase, hit.instead);
        }
        if let Some(hit) = first_sentence_hit(&prose) {
            firsts += 1;
            println!("First {}:{}: {hit}", prose.path.display(), prose.lines[0].0);
        }
    }
    println!("{counts:?} {firsts}");
}

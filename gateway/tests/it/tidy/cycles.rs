//! Files that use each other's items, directly or through others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use super::modules::Use;

type Edges<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Use>>>;

/// The shortest cycle through each use, with what makes it: `a.rs -> b.rs -> a.rs`. A cycle with a short cut is left
/// out, because the short cut makes a shorter cycle.
pub(super) fn among(uses: &[Use]) -> Vec<String> {
    let mut edges = Edges::new();
    for edge in uses {
        edges.entry(&edge.from).or_default().entry(&edge.to).or_default().push(edge);
    }
    let mut cycles = BTreeSet::new();
    for (from, targets) in &edges {
        for to in targets.keys() {
            if let Some(mut cycle) = shortest_path(&edges, to, from) {
                let first = cycle.iter().enumerate().min_by_key(|(_, file)| (file.matches('/').count(), **file));
                let first = first.expect("a cycle has files").0;
                cycle.rotate_left(first);
                if !has_short_cut(&edges, &cycle) {
                    cycles.insert(cycle);
                }
            }
        }
    }
    cycles.iter().map(|cycle| describe(&edges, cycle)).collect()
}

fn has_short_cut(edges: &Edges<'_>, cycle: &[&str]) -> bool {
    let targets = |file: &&str| cycle.iter().filter(|to| edges[*file].contains_key(*to)).count();
    cycle.iter().any(|file| targets(file) > 1)
}

/// The files from one to the other, both included.
fn shortest_path<'a>(edges: &Edges<'a>, start: &'a str, goal: &str) -> Option<Vec<&'a str>> {
    let mut reached_from: BTreeMap<&str, Option<&'a str>> = BTreeMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        if file == goal {
            let mut path: Vec<&str> =
                std::iter::successors(Some(file), |file| reached_from.get(file).copied().flatten()).collect();
            path.reverse();
            return Some(path);
        }
        for next in edges.get(file).into_iter().flat_map(BTreeMap::keys) {
            if !reached_from.contains_key(next) {
                reached_from.insert(next, Some(file));
                queue.push_back(next);
            }
        }
    }
    None
}

fn describe(edges: &Edges<'_>, cycle: &[&str]) -> String {
    let closed: Vec<&str> = cycle.iter().chain(cycle.first()).copied().collect();
    let mut text = format!("{}\n", closed.join(" -> "));
    for step in closed.windows(2) {
        let mut items: BTreeMap<&str, usize> = BTreeMap::new();
        for edge in &edges[step[0]][step[1]] {
            items.entry(&edge.item).or_insert(edge.line);
        }
        let items: Vec<String> = items.iter().map(|(item, line)| format!("{item} (line {line})")).collect();
        writeln!(text, "    {} uses of {}: {}", step[0], step[1], items.join(", ")).expect("a string grows");
    }
    text
}

#[test]
fn a_cycle_is_reported_once_with_its_items() {
    let edge = |from: &str, to: &str, item: &str| Use { from: from.into(), to: to.into(), line: 7, item: item.into() };
    let uses =
        [edge("a.rs", "b.rs", "B"), edge("b.rs", "c.rs", "C"), edge("c.rs", "a.rs", "A"), edge("c.rs", "d.rs", "D")];
    let expected = "a.rs -> b.rs -> c.rs -> a.rs\n    a.rs uses of b.rs: B (line 7)\n    b.rs uses of c.rs: C (line 7)\n    c.rs uses of a.rs: A (line 7)\n";
    assert_eq!(among(&uses), [expected]);
}

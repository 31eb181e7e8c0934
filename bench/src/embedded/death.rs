//! From the kill of a holder to the next grant.

use std::thread::sleep;
use std::time::Duration;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::FILE_DEATH;
use crate::participant::ARBITER;
use crate::spread::Spread;
use crate::stage::Stage;
use lines::nanos;

const DEATHS: usize = 20;
const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn measure(
    stage: &mut Stage<'_>,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut times = Vec::new();
    for _ in 0..DEATHS {
        let name = stage.fresh_name();
        let mut holder = stage.start()?;
        let mut waiter = stage.start()?;
        holder.send_line(&format!("acquire 0 {name}"))?;
        holder.receive(LIMIT)?;
        waiter.send_line(&format!("acquire 0 {name}"))?;
        sleep(Duration::from_millis(20));
        let killed = nanos();
        holder.kill();
        let acquired = waiter.receive(LIMIT)?;
        let acquired: i64 = acquired.rsplit(' ').next().unwrap_or_default().parse()?;
        times.push((acquired - killed) as f64 / 1e6);
    }
    let times = Spread::of(times).ok_or("no process was killed")?;
    figures.note_value(round, ARBITER, FILE_DEATH[0], times.median);
    figures.note_value(round, ARBITER, FILE_DEATH[1], times.max);
    Ok(())
}

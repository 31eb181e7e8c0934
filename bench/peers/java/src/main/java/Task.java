import java.util.ArrayList;
import java.util.List;
import org.redisson.api.RLock;

/** Takes and frees one name again and again. Its tally can be read while it hangs. */
final class Task implements Runnable {
    private final RLock lock;
    private final long end;

    private boolean waits;
    private long asked;
    private long last = System.nanoTime();
    private long worst;
    private final List<Long> took = new ArrayList<>();

    /** Times are in nanoseconds; {@code last} is the end of the last cycle. */
    record Tally(long last, long worst, List<Long> took) {}

    Task(RLock lock, long end) {
        this.lock = lock;
        this.end = end;
    }

    @Override
    public void run() {
        while (System.nanoTime() - end < 0) {
            asks();
            lock.lock();
            gets();
            lock.unlock();
            ends();
        }
    }

    private synchronized void asks() {
        waits = true;
        asked = System.nanoTime();
    }

    private synchronized void gets() {
        waits = false;
        worst = Math.max(worst, System.nanoTime() - asked);
    }

    private synchronized void ends() {
        last = System.nanoTime();
        took.add(last - asked);
    }

    /** Counts a wait that has not ended as long as it is by now. */
    synchronized Tally tally() {
        long longest = waits ? Math.max(worst, System.nanoTime() - asked) : worst;
        return new Tally(last, longest, List.copyOf(took));
    }
}

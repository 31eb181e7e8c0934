import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.redisson.api.RLock;

/** Runs many tasks at once, each on a thread of its own, and sums up what they did. */
final class Measure {
    /** How long after the end a task may still be in its last cycle. What hangs longer is left behind. */
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private final Function<String, RLock> locks;
    private final ExecutorService threads = Executors.newCachedThreadPool();

    Measure(Function<String, RLock> locks) {
        this.locks = locks;
    }

    String cycles(int tasks, Duration length) throws InterruptedException {
        long began = System.nanoTime();
        List<Task.Tally> all = drive(tasks, began, length, task -> "name-" + task);
        long[] took = all.stream().flatMap(one -> one.took().stream()).mapToLong(Long::longValue).sorted().toArray();
        if (took.length == 0) {
            return "unable no task made a cycle";
        }
        return String.format(Locale.ROOT, "cycles %d %.6f %.1f %.1f",
                took.length, seconds(began, all), took[took.length * 50 / 100] / 1e3, took[took.length * 99 / 100] / 1e3);
    }

    String crowd(int tasks, Duration length) throws InterruptedException {
        long began = System.nanoTime();
        List<Task.Tally> all = drive(tasks, began, length, task -> "crowd");
        long worst = all.stream().mapToLong(Task.Tally::worst).max().orElse(0);
        String counts = all.stream().map(one -> " " + one.took().size()).collect(Collectors.joining());
        return String.format(Locale.ROOT, "crowd %.6f %.3f%s", seconds(began, all), worst / 1e6, counts);
    }

    private List<Task.Tally> drive(int tasks, long began, Duration length, IntFunction<String> name)
            throws InterruptedException {
        List<Task> all = IntStream.range(0, tasks)
                .mapToObj(task -> new Task(locks.apply(name.apply(task)), began + length.toNanos()))
                .toList();
        CountDownLatch ends = new CountDownLatch(tasks);
        for (Task task : all) {
            threads.execute(() -> {
                task.run();
                ends.countDown();
            });
        }
        if (!ends.await(length.plus(PATIENCE).toNanos(), TimeUnit.NANOSECONDS)) {
            System.err.println(ends.getCount() + " of " + tasks + " tasks hang");
        }
        return all.stream().map(Task::tally).toList();
    }

    /** Those up to the last cycle that counts: a task that hangs adds none. */
    private static double seconds(long began, List<Task.Tally> all) {
        return all.stream().mapToLong(one -> one.last() - began).max().orElse(0) / 1e9;
    }
}

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Function;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/** Drives Redisson by lines, as the README of the peers lays down. */
public final class Peer {
    private static final Duration LEASE = Duration.ofSeconds(30);

    private final Measure measure;
    private final Function<String, RLock> locks;
    private final Map<Integer, Worker> workers = new HashMap<>();

    private Peer(Function<String, RLock> locks) {
        this.locks = locks;
        this.measure = new Measure(locks);
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> fail(error));
        if (args.length != 2) {
            throw new IllegalArgumentException("usage: Peer LIBRARY REDIS_URL");
        }
        RedissonClient client = connect(args[1]);
        Peer peer = new Peer(switch (args[0]) {
            case "redisson" -> client::getLock;
            case "redisson-fair" -> client::getFairLock;
            default -> throw new IllegalArgumentException("no library is called " + args[0]);
        });
        System.out.println("ready " + args[0] + " " + Redisson.class.getPackage().getImplementationVersion());

        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            peer.obey(line);
        }
        Runtime.getRuntime().halt(0);
    }

    private static RedissonClient connect(String url) {
        Config config = new Config();
        config.setLockWatchdogTimeout(LEASE.toMillis());
        // A waiter for a fair lock takes a channel of its own, five of which share a connection.
        config.useSingleServer().setAddress(url).setSubscriptionConnectionPoolSize(100);
        return Redisson.create(config);
    }

    private void obey(String line) throws InterruptedException {
        String[] words = line.split(" ");
        int first = Integer.parseInt(words[1]);
        switch (words[0]) {
            case "cycles" -> System.out.println(measure.cycles(first, length(words[2])));
            case "crowd" -> System.out.println(measure.crowd(first, length(words[2])));
            case "acquire" -> worker(first).acquire(words[2]);
            case "release" -> worker(first).release();
            default -> throw new IllegalArgumentException("not a line of the protocol: " + line);
        }
    }

    private Worker worker(int number) {
        return workers.computeIfAbsent(number, absent -> new Worker(number, locks));
    }

    private static Duration length(String milliseconds) {
        return Duration.ofMillis(Long.parseLong(milliseconds));
    }

    private static void fail(Throwable error) {
        System.err.println(error);
        Runtime.getRuntime().halt(1);
    }
}

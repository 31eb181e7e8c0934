import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.function.Function;
import org.redisson.api.RLock;

/** A thread that holds one lock at a time: Redisson knows an owner by its thread. */
final class Worker {
    private final int number;
    private final Function<String, RLock> locks;
    private final BlockingQueue<String> names = new ArrayBlockingQueue<>(1);
    private final Semaphore frees = new Semaphore(0);

    Worker(int number, Function<String, RLock> locks) {
        this.number = number;
        this.locks = locks;
        new Thread(this::work, "worker-" + number).start();
    }

    void acquire(String name) throws InterruptedException {
        names.put(name);
    }

    void release() {
        frees.release();
    }

    private void work() {
        try {
            while (true) {
                RLock lock = locks.apply(names.take());
                lock.lock();
                say("acquired", System.nanoTime());
                frees.acquire();
                long at = System.nanoTime();
                lock.unlock();
                say("released", at);
            }
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    private void say(String what, long at) {
        System.out.println(what + " " + number + " " + at);
    }
}

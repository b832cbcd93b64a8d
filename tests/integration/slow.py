"""A way to a server on which every answer takes its time."""

import asyncio
import contextlib
import threading


class SlowProxy:
    """
    Passes connections on; what comes back arrives some seconds later, in order. A context manager.

    listen, target
        Address and port (tuple).
    seconds
        How long each answer takes; it can be set while connections are open.
    """

    def __init__(self, listen, target, seconds=0.0):
        self.listen, self.target, self.seconds = listen, target, seconds

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = asyncio.start_server(self._pass, *self.listen)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(60)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _end(self):
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        # Cancelled at the end: asyncio would make a noise about a connection that ends so.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._copy(reader, far_writer, False), self._copy(far_reader, writer, True))

    async def _copy(self, reader, writer, slowly):
        """What is read meanwhile waits for its own time, not for that of what came before."""
        arrived = asyncio.Queue()
        reading = asyncio.ensure_future(self._read(reader, arrived))
        try:
            while True:
                when, data = await arrived.get()
                if slowly:
                    await asyncio.sleep(max(0.0, when + self.seconds - self._loop.time()))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            writer.close()

    async def _read(self, reader, arrived):
        data = b"-"
        while data:
            try:
                data = await reader.read(65536)
            except ConnectionError:
                data = b""
            await arrived.put((self._loop.time(), data))

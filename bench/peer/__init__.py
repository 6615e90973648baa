"""Queues beside ours, each as its own documentation sets it up: a module that its workers import as well.

Each has ``send(count, pause)``, which queues so many jobs and says when it began to queue each (monotonic
seconds), and ``command(threads)``, which starts a worker.
"""

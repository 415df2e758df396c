// Package folder bounds the writable host folders of one-shot jobs, for every kind of sandbox: they are handed to the job's user id,
// measured while it runs, and taken back with all that it wrote. Resolve looks at what a runner is shown read-only.
//
// What is guaranteed: Watch tells of the first folder that holds more than its limit, or that cannot be measured, once, and stops when
// its channel is closed. HandBack follows no link, and takes set-id bits away.
//
// What you may not assume: that a folder never holds more. It is measured five times a second, since the kernel offers an ordinary
// folder no quota: at 2 GB/s a job gets 0.4 GB past its limit.
//
// Test against it with a folder of the test's own.
package folder

/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * Pipes: bounded byte buffers with back-pressure between one writer and one reader.
 *
 * In the manner of .NET's System.IO.Pipelines: the writer reserves room and commits what it
 * filled, the reader sees whole unconsumed content as a view over segments and says how much of
 * it it consumed and how much it merely examined. Nothing is copied in between, one slow reader
 * pauses exactly its writer, and memory goes back as soon as it is consumed.
 *
 * Usable without the proxy: include this header, link libxylem.
 *
 * Threads: a pool and its pipes belong to one thread at a time; no locks inside. Segments are
 * reference-counted atomically, so a chain of slices may be handed to another thread and end in
 * that thread's pipes; a segment released on a thread returns to that thread's pool.
 * Errors: 0 or -errno. All sizes in bytes.
 */
#ifndef XYLEM_PIPE_H
#define XYLEM_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- pool ---------------------------------------------------------------------------------- */

struct xy_pool;

struct xy_pool_options {
	size_t size;           /* sizeof(struct xy_pool_options) */
	uint32_t segment_size; /* bytes of a pooled segment; default 64 KiB. Larger ones bypass the
				  pool */
	uint32_t cached_max; /* free segments kept at most; default 64; the rest is freed at once */
};

/* NULL options = defaults. NULL with errno on failure. */
struct xy_pool *xy_pool_new(const struct xy_pool_options *options);
/* Every pipe that uses the pool must be freed before. NULL is fine. */
void xy_pool_free(struct xy_pool *pool);
/* Give cached segments back to the system until at most `keep` are left. */
void xy_pool_trim(struct xy_pool *pool, uint32_t keep);
/* The same with what lay in the cache unused since the last call, but for the `keep` used last.
 * Called by a timer, it lets a pool follow its traffic: what a burst needed is back with the system
 * after two calls. */
void xy_pool_shrink(struct xy_pool *pool, uint32_t keep);

struct xy_pool_stats {
	uint64_t rented;  /* segments taken from this pool, ever */
	uint64_t created; /* of these, allocated because the cache was empty or too small */
	uint32_t cached;  /* segments free in the cache now */
	uint32_t links;   /* places for slices, free in the cache now: some 40 bytes each */
};
void xy_pool_stats(const struct xy_pool *pool, struct xy_pool_stats *ret);
/* Bytes in segments of all pools of the process, cached ones included. Any thread. */
size_t xy_pool_total_bytes(void);

/* ---- slices and chains: content that travels between pipes without a copy -------------------- */

struct xy_segment; /* a reference-counted buffer */

struct xy_slice {
	struct xy_segment *segment; /* one reference held */
	uint32_t offset, length;
};

/* A list of slices, owner of their references. Zero-initialise; movable by assignment only through
 * xy_chain_move (the first slices live inside). */
#define XY_CHAIN_INLINE 3
struct xy_chain {
	size_t length;                   /* bytes in all slices */
	uint32_t first, count, capacity; /* of the places for slices: the first in use, … */
	struct xy_slice *heap;           /* NULL while the inline ones are enough */
	struct xy_slice inlined[XY_CHAIN_INLINE];
};

void xy_chain_move(struct xy_chain *to, struct xy_chain *from); /* `to` must be empty */
/* Drops all references; pool NULL: what is not used any more is freed. */
void xy_chain_clear(struct xy_chain *chain, struct xy_pool *pool);
/* Appends what `from` has to `to`, with references of its own. -ENOMEM (`to` unchanged). */
int xy_chain_share(const struct xy_chain *from, struct xy_chain *to);
/* The first `length` bytes; the chain keeps them. -ENODATA: it has fewer. */
int xy_chain_peek(const struct xy_chain *chain, void *to, size_t length);
/* Drops the first `length` bytes, or all; pool as above. */
void xy_chain_advance(struct xy_chain *chain, size_t length, struct xy_pool *pool);

/* ---- pipe ----------------------------------------------------------------------------------- */

struct xy_pipe;

struct xy_pipe_options {
	size_t size;          /* sizeof(struct xy_pipe_options) */
	struct xy_pool *pool; /* required */
	size_t pause; /* writer should pause at >= this many unconsumed bytes that were not examined
			 either (or a reader that needs more would wait for ever); 0 = never.
			 Default 64 KiB */
	size_t resume; /* goes on strictly below this; 0 < resume <= pause. Default 32 KiB */
	size_t minimum_segment; /* reserve() without a hint gives at least this; default 4 KiB */
	bool never_pause;       /* pause = 0 is meant, not defaulted */
	/* Called on the pipe's thread, once each time it becomes so; may be NULL; may call the
	 * pipe, but not free it. */
	void (*on_readable)(struct xy_pipe *pipe,
			    void *context); /* more than was examined, or the end */
	void (*on_resume)(struct xy_pipe *pipe,
			  void *context); /* a paused writer may go on, or was cancelled */
	void *context;
};

/* A view of unconsumed content. Valid until the next advance, reset or free of its pipe; a cursor
 * made from a stale view is empty. */
struct xy_view {
	const struct xy_pipe *pipe;
	size_t length;
	uint64_t stamp; /* detects stale views */
	bool cancelled; /* the read was cancelled; content is still valid */
	bool completed; /* the writer is done; no more will come */
};

int xy_pipe_new(const struct xy_pipe_options *options,
		struct xy_pipe **ret_pipe); /* -EINVAL, -ENOMEM */
void xy_pipe_free(struct xy_pipe *pipe);    /* drops all content; NULL is fine */

/* Writer. */
/* At least max(hint, 1) bytes to write into (hint 0: whatever is cheap, never less than
 * minimum_segment). NULL with errno: ENOMEM; EPIPE: the reader is gone; EINVAL: the writer is
 * complete, or more than 4 GiB. The reservation ends with commit, write, append or the next
 * reserve. */
void *xy_pipe_reserve(struct xy_pipe *pipe, size_t hint, size_t *ret_length);
int xy_pipe_commit(struct xy_pipe *pipe, size_t length); /* -EINVAL beyond the reservation */
/* Publishes what was committed. 0 = go on, 1 = pause until on_resume, -EPIPE = the reader is gone.
 */
int xy_pipe_flush(struct xy_pipe *pipe);
/* reserve + copy + commit, over as many segments as it takes; all of it or nothing. */
int xy_pipe_write(struct xy_pipe *pipe, const void *data, size_t length);
/* Moves the chain's content behind what was committed, by reference; the chain is empty after
 * (unchanged on error). Small content is copied instead of pinning a large segment. Order with
 * reserve/commit is kept. -EPIPE, -EINVAL as reserve; -ENOMEM. */
int xy_pipe_append(struct xy_pipe *pipe, struct xy_chain *chain);
/* As append, but the chain keeps its content: for the next subscriber. */
int xy_pipe_append_shared(struct xy_pipe *pipe, const struct xy_chain *chain);
void xy_pipe_complete_writer(struct xy_pipe *pipe, int error); /* flushes; second call ignored */
/* A paused writer gets on_resume once (and still is paused), or else the next flush returns 0. */
void xy_pipe_cancel_flush(struct xy_pipe *pipe);

/* Reader. */
/* 0 with a view; -EAGAIN: nothing beyond what was examined (on_readable will be called); after the
 * end and all data: 0 with an empty completed view, or the writer's error (-errno, every time; also
 * when what is left has been examined). -EINVAL: the reader is complete.
 * -EBUSY: a view is already out (advance first). */
int xy_pipe_read(struct xy_pipe *pipe, struct xy_view *ret_view);
/* As read, but also -EAGAIN until `length` bytes are there; resumes a paused writer when needed. */
int xy_pipe_read_at_least(struct xy_pipe *pipe, size_t length, struct xy_view *ret_view);
/* Ends the view. consumed <= examined <= view length, else -EINVAL and nothing changes.
 * -ENOENT: no view is out. */
int xy_pipe_advance(struct xy_pipe *pipe, size_t consumed, size_t examined);
void xy_pipe_cancel_read(struct xy_pipe *pipe);
void xy_pipe_complete_reader(
	struct xy_pipe *pipe); /* content dropped, writer released, -EPIPE on flush */

size_t xy_pipe_length(const struct xy_pipe *pipe); /* published, unconsumed bytes */
bool xy_pipe_paused(const struct xy_pipe *pipe);
int xy_pipe_reset(struct xy_pipe *pipe); /* -EBUSY unless both sides are complete */

/* ---- reading a view ------------------------------------------------------------------------- */

/* A position in a view; cheap to copy. Reads move it; a read that does not fit returns -ENODATA and
 * leaves it where it was. */
struct xy_cursor {
	const struct xy_pipe *pipe;
	const void *link; /* current segment link; private */
	uint32_t at;      /* offset within it */
	size_t position;  /* bytes from the start of the view */
	size_t remaining; /* bytes to the end of the view */
};

struct xy_cursor xy_view_cursor(const struct xy_view *view);
int xy_cursor_skip(struct xy_cursor *cursor, size_t length);
int xy_cursor_peek(const struct xy_cursor *cursor, void *to, size_t length);
int xy_cursor_read(struct xy_cursor *cursor, void *to, size_t length);
int xy_cursor_be16(struct xy_cursor *cursor, uint16_t *ret_value);
int xy_cursor_be32(struct xy_cursor *cursor, uint32_t *ret_value);
int xy_cursor_be64(struct xy_cursor *cursor, uint64_t *ret_value);
int xy_cursor_le16(struct xy_cursor *cursor, uint16_t *ret_value);
int xy_cursor_le32(struct xy_cursor *cursor, uint32_t *ret_value);
int xy_cursor_le64(struct xy_cursor *cursor, uint64_t *ret_value);
/* Bytes from the cursor to the first `byte`, or -ENODATA. */
int xy_cursor_find(const struct xy_cursor *cursor, uint8_t byte, size_t *ret_distance);
int xy_cursor_find_delimiter(const struct xy_cursor *cursor, const void *delimiter, size_t length,
			     size_t *ret_distance);
/* The contiguous bytes at the cursor; *ret_length is 0 at the end. */
const void *xy_cursor_chunk(const struct xy_cursor *cursor, size_t *ret_length);
/* The next `length` bytes as iovecs; returns how many were filled, covering at most `maximum`
 * entries; *ret_length says how many bytes they cover. Does not move. */
int xy_cursor_iov(const struct xy_cursor *cursor, size_t length, struct iovec *iov, int maximum,
		  size_t *ret_length);
/* Appends the next `length` bytes to the chain by reference, joined with its last slice where they
 * touch. Does not move. -ENODATA, -ENOMEM (chain unchanged). */
int xy_cursor_share(const struct xy_cursor *cursor, size_t length, struct xy_chain *chain);

/* Copies up to `length` bytes of content to a descriptor with writev; what was written is consumed.
 * *ret_written also on error. -EBUSY: a view is out. Raises SIGPIPE as writev does. */
int xy_pipe_copy_to_fd(struct xy_pipe *pipe, int fd, size_t length, size_t *ret_written);
/* Moves content to another pipe by reference and flushes it; as xy_pipe_flush of `to`. -EBUSY: a
 * view is out. */
int xy_pipe_copy_to_pipe(struct xy_pipe *pipe, struct xy_pipe *to, size_t length);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.h - sets up Relacy for the models of this folder, runs their searches and reports them.
 *
 * Each model compiles the library's own headers with FOLIO_ATOMIC_RELACY. Every load, store and
 * read-modify-write is then a point at which the scheduler may switch threads, and a load that
 * nothing orders may return an older value. Plain data that the protocol must protect is rl::var:
 * two accesses without an order between them are reported as a data race, whatever values they
 * read.
 *
 * Relacy is made weaker here than it comes, in two ways:
 *
 *   - It remembers the last 8 values of a word (atomic_history_size) instead of 3, and full and
 *     context-bound searches branch over all of them instead of over the last two. A version or a
 *     slot that changes and changes back is older than one store.
 *   - A store ends the release sequences that precede it in the word, including those of its own
 *     thread, as in C++20; C11 lets the same thread continue one. A proof under the weaker rule
 *     holds under both.
 *
 * What it does not show: executions with a cycle in program order, reads-from and modification
 * order together (a load that sees a store of its own future; stores to one word that take effect
 * in another order than they were executed). A compare-and-swap that fails always saw the newest
 * value.
 */
#ifndef MODEL_H
#define MODEL_H

#define FOLIO_ATOMIC_RELACY

#define atomic_history_size atomic_history_size_of_relacy
#include <relacy/base.hpp>
#undef atomic_history_size
namespace rl
{
/* A power of two: the index of the newest value wraps. */
size_t const atomic_history_size = 8;
} // namespace rl
#include <relacy/relacy.hpp>
/* Relacy replaces these by its own; the models need none of them. */
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

/* Plain stores under the rule of C++20, see above; for each number of threads that a model uses. */
#define MODEL_STORE_(threads, order, published)                                                    \
	template <>                                                                                \
	template <>                                                                                \
	unsigned thread_info<threads>::atomic_store<order, false>(atomic_data * data)              \
	{                                                                                          \
		atomic_data_impl<threads> &word = *static_cast<atomic_data_impl<threads> *>(data); \
		unsigned index = ++word.current_index_ % atomic_history_size;                      \
                                                                                                   \
		own_acq_rel_order_++;                                                              \
		word.history_[index].busy_ = true;                                                 \
		word.history_[index].seq_cst_ = false;                                             \
		word.history_[index].thread_id_ = index_;                                          \
		word.history_[index].acq_rel_timestamp_ = own_acq_rel_order_;                      \
		for (thread_id_t i = 0; i < threads; i++) {                                        \
			word.history_[index].first_seen_order_[i] = (timestamp_t)-1;               \
			word.history_[index].acq_rel_order_[i] = published[i];                     \
		}                                                                                  \
		word.history_[index].first_seen_order_[index_] = own_acq_rel_order_;               \
		return index;                                                                      \
	}
#define MODEL_THREADS_(threads)                                 \
	MODEL_STORE_(threads, mo_relaxed, release_fence_order_) \
	MODEL_STORE_(threads, mo_release, acq_rel_order_)

namespace rl
{
MODEL_THREADS_(2)
MODEL_THREADS_(3)
MODEL_THREADS_(4)
} // namespace rl

#include <folio/ref.h>

/* Data that is not atomic. */
#define PLAIN_LOAD(variable)         ((variable)(RL_INFO).load())
#define PLAIN_STORE(variable, value) ((variable)(RL_INFO).store(value))

/* What a model claims. The text is what a failure prints. */
#define CLAIM(condition, text) \
	RL_ASSERT_IMPL((condition), rl::test_result_user_assert_failed, text, RL_INFO)

/*
 * A situation that the model is about. Counts how often the searches reach it. A model that never
 * reaches it proves nothing, and fails.
 */
class scenario
{
      public:
	explicit scenario(const char *text) : text_(text)
	{
		scenario **end = &first();

		while (*end)
			end = &(*end)->next_;
		*end = this;
	}

	void reached()
	{
		count_++;
	}

	/* Prints all; true when each was reached. */
	static bool report()
	{
		bool all = true;

		for (scenario *s = first(); s; s = s->next_) {
			printf("  reached %llu times: %s\n", (unsigned long long)s->count_,
				s->text_);
			all = all && s->count_;
		}
		return all;
	}

      private:
	static scenario *&first()
	{
		static scenario *list;

		return list;
	}

	const char *text_;
	scenario *next_ = NULL;
	unsigned long long count_ = 0;
};

/*
 * Hands an object to another thread, as a lock or a queue does: the taker sees everything that the
 * giver did before. It takes two steps, where a list under a lock takes six; this keeps full
 * searches small.
 */
struct handover {
	folio_ptr place;

	void init(void *content)
	{
		folio_ptr_store_relaxed(&place, content);
	}

	void give(void *content)
	{
		CLAIM(!place.debug_value(), "returned twice");
		folio_ptr_store_release(&place, content);
	}

	/* NULL when there is nothing. */
	void *take()
	{
		return folio_ptr_exchange_acquire(&place, NULL);
	}
};

/* Mutual exclusion from acquire to release. */
struct lock {
	rl::mutex mutex;

	void acquire()
	{
		mutex.lock(RL_INFO);
	}

	void release()
	{
		mutex.unlock(RL_INFO);
	}
};

/*
 * Random executions. Relacy's own generator repeats itself within a few steps; this one is
 * splitmix64, seeded with the number of the execution. Each execution draws how sticky it is: the
 * running thread continues with probability 0, 1/2, 3/4 or 7/8. So both long stalls of one thread
 * and frequent switches occur.
 */
template <rl::thread_id_t threads>
class random_search
    : public rl::scheduler<random_search<threads>, rl::scheduler_thread_info, threads>
{
      public:
	typedef rl::scheduler<random_search<threads>, rl::scheduler_thread_info, threads> base;
	typedef typename base::shared_context_t shared_context_t;

	struct task_t {
	};

	random_search(rl::test_params &params, shared_context_t &context, rl::thread_id_t dynamic)
	    : base(params, context, dynamic)
	{
	}

	rl::thread_id_t iteration_begin_impl()
	{
		state_ = this->iter_ * UINT64_C(0xd1342543de82ef95);
		sticky_ = 1u << draw(4);
		return pick();
	}

	bool iteration_end_impl()
	{
		return this->iter_ == this->params_.iteration_count;
	}

	rl::thread_id_t schedule_impl(rl::unpark_reason &reason, unsigned yield)
	{
		reason = rl::unpark_reason_normal;
		if (!yield && this->thread_->state_ == rl::thread_state_running && draw(sticky_))
			return this->thread_->index_;
		return pick();
	}

	unsigned rand_impl(unsigned limit, rl::sched_type)
	{
		return draw(limit);
	}

	rl::iteration_t iteration_count_impl()
	{
		return this->params_.iteration_count;
	}

	void get_state_impl(std::ostream &)
	{
	}

	void set_state_impl(std::istream &)
	{
	}

	void on_thread_block(rl::thread_id_t, bool)
	{
	}

      private:
	unsigned draw(unsigned limit)
	{
		uint64_t z = state_ += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		return (unsigned)((z >> 32) * limit >> 32);
	}

	rl::thread_id_t pick()
	{
		return this->running_threads[draw((unsigned)this->running_threads_count)];
	}

	uint64_t state_;
	unsigned sticky_;
};

/*
 * Runs the searches that a model requests and prints what they were. FOLIO_SEED is the first seed
 * of random searches (default 1); each execution uses the next one. FOLIO_TEST_SCALE multiplies
 * the number of random executions. An execution that fails is run again from the state in which it
 * failed and printed step by step; a random search also prints the seed that reproduces the
 * failure immediately.
 */
class model
{
      public:
	explicit model(const char *name) : name_(name)
	{
	}

	/* All executions. */
	template <class test> void full()
	{
		rl::test_params params;

		search<test, rl::full_search_scheduler<test::params::thread_count>>(
			params, "full search", 0, 0);
	}

	/*
	 * All executions with at most @switches preemptions of a thread that could continue; one
	 * fewer if FOLIO_TEST_SCALE is below 1.
	 */
	template <class test> void bound(unsigned switches)
	{
		rl::test_params params;
		char what[64];

		if (scale() < 1)
			switches--;
		snprintf(what, sizeof(what), "all with at most %u preemptions", switches);
		params.context_bound = switches;
		search<test, rl::context_bound_scheduler<test::params::thread_count>>(
			params, what, 0, 0);
	}

	/* @executions with random switches and random old values. */
	template <class test> void random(uint64_t executions)
	{
		const char *seed_text = getenv("FOLIO_SEED");
		uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
		rl::test_params params;
		char what[96];

		executions = (uint64_t)(executions * scale());
		if (seed == 0)
			seed = 1;
		if (executions == 0)
			executions = 1;
		snprintf(what, sizeof(what), "random, seeds %llu to %llu", (unsigned long long)seed,
			(unsigned long long)(seed + executions - 1));
		search<test, random_search<test::params::thread_count>>(
			params, what, seed, executions);
	}

	/* Exit status. */
	int result()
	{
		if (failed_)
			return 1;
		if (!scenario::report()) {
			printf("%s: a scenario was never reached\n", name_);
			return 1;
		}
		return 0;
	}

      private:
	static double scale()
	{
		const char *text = getenv("FOLIO_TEST_SCALE");

		return text ? strtod(text, NULL) : 1;
	}

	template <class test, class scheduler>
	void search(rl::test_params &params, const char *what, uint64_t seed, uint64_t executions)
	{
		std::ostream nowhere(NULL);
		rl::ostringstream state;
		rl::test_result_e result;
		struct timespec begin, end;

		if (failed_)
			return;
		/* Relacy uses this to decide how old a value a load may return. */
		params.search_type = rl::sched_random;
		params.progress_stream = &nowhere;
		/* After so many steps, a thread that only waits for others counts as stuck. */
		params.execution_depth_limit = 400;
		if (seed) {
			params.initial_state = std::to_string(seed).c_str();
			params.iteration_count = seed + executions - 1;
		}
		printf("%s: %s\n", name_, what);
		fflush(stdout);
		clock_gettime(CLOCK_MONOTONIC, &begin);
		result = rl::run_test<test, scheduler>(params, state, false);
		clock_gettime(CLOCK_MONOTONIC, &end);
		if (result == rl::test_result_success) {
			printf("  %llu executions, %.1f s\n",
				(unsigned long long)(seed ? executions : params.stop_iteration),
				(end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) * 1e-9);
			return;
		}
		failed_ = true;
		params.initial_state = state.str();
		params.collect_history = true;
		rl::run_test<test, scheduler>(params, state, true);
		std::cout.flush();
		printf("%s: FAILED: %s\n", name_, rl::test_result_str(result));
		if (seed)
			printf("%s: reproduce with FOLIO_SEED=%llu\n", name_,
				(unsigned long long)params.stop_iteration);
	}

	const char *name_;
	bool failed_ = false;
};

#endif

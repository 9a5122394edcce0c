/* A native addon of the tests: writes an array to a descriptor on another thread, as image libraries and the like work. */
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* Node-API, as far as it is used here; the host has it. */
typedef struct env_ *env;
typedef struct value_ *value;
typedef struct info_ *info;
typedef struct work_ *work;
typedef value (*callback)(env, info);
extern int napi_create_function(env, const char *, size_t, callback, void *, value *);
extern int napi_set_named_property(env, value, const char *, value);
extern int napi_get_cb_info(env, info, size_t *, value *, value *, void **);
extern int napi_get_value_int32(env, value, int32_t *);
extern int napi_get_typedarray_info(env, value, int *, size_t *, void **, value *, size_t *);
extern int napi_create_reference(env, value, uint32_t, void **);
extern int napi_delete_reference(env, void *);
extern int napi_create_string_utf8(env, const char *, size_t, value *);
extern int napi_create_promise(env, void **, value *);
extern int napi_resolve_deferred(env, void *, value);
extern int napi_create_async_work(env, value, value, void (*)(env, void *), void (*)(env, int, void *), void *, work *);
extern int napi_queue_async_work(env, work);
extern int napi_get_undefined(env, value *);

static struct {
  int32_t fd;
  const char *bytes;
  size_t length;
  void *reference, *deferred;
} job;

static void run(env e, void *data) {
  (void)e, (void)data;
  for (size_t at = 0; at < job.length;) {
    ssize_t n = write(job.fd, job.bytes + at, job.length - at);
    if (n <= 0) return;
    at += (size_t)n;
  }
}

static void complete(env e, int status, void *data) {
  value undefined;
  (void)status, (void)data;
  napi_get_undefined(e, &undefined);
  napi_delete_reference(e, job.reference); /* until now, as an addon does */
  napi_resolve_deferred(e, job.deferred, undefined);
}

static value write_later(env e, info i) {
  size_t count = 2;
  value arguments[2], promise, name;
  int type;
  void *bytes;
  work w;
  napi_get_cb_info(e, i, &count, arguments, NULL, NULL);
  napi_get_value_int32(e, arguments[0], &job.fd);
  napi_get_typedarray_info(e, arguments[1], &type, &job.length, &bytes, NULL, NULL);
  job.bytes = bytes;
  napi_create_reference(e, arguments[1], 1, &job.reference);
  napi_create_promise(e, &job.deferred, &promise);
  napi_create_string_utf8(e, "write", 5, &name);
  napi_create_async_work(e, NULL, name, run, complete, NULL, &w);
  napi_queue_async_work(e, w);
  return promise;
}

value napi_register_module_v1(env e, value exports) {
  value function;
  napi_create_function(e, "write", 5, write_later, NULL, &function);
  napi_set_named_property(e, exports, "write", function);
  return exports;
}

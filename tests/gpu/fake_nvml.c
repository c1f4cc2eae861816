/* A stand-in for the NVIDIA driver's library libnvidia-ml.so.1, answering from a script.
 *
 * The script is lines of "key = value", given to fake_nvml_script() or, for a process that only
 * loads the library by its name, in the file that FAKE_NVML_SCRIPT names. Keys:
 *
 *   init              code that opening the library fails with
 *   error             code that every call fails with
 *   driver_version, count, era   ("era" goes up when the driver was loaded anew: what was opened
 *                     before is then of no use until it is shut down)
 *   D.uuid, D.memory, ...        the answers of device D ("0", "1"), or of its MIG device "0.mig.0"
 *   D.error           code that every call on the device fails with
 *   fails.FUNCTION    code that a function fails with, on every device
 *   sleep_ms.FUNCTION time that a function takes
 *
 * A value "!N" is the return code N; a missing key is "not supported".
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, ARGUMENT_VERSION_MISMATCH = 25, UNKNOWN = 999
};

#define MAX_ENTRIES 512
#define MAX_DEVICES 64
#define MAX_FUNCTIONS 128

typedef struct { char name[32]; } device_t;
typedef struct { char key[64]; char value[160]; } entry_t;
typedef struct { char name[64]; unsigned long calls; } function_t;

static entry_t entries[MAX_ENTRIES];
static int entry_count;
static function_t functions[MAX_FUNCTIONS];
static int function_count;
static device_t devices[MAX_DEVICES];
static int device_count;
static int users;
static int opened_in_era;

/* ---- the script ---- */

static const char *value_of(const char *format, ...) {
    char key[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    for (int i = 0; i < entry_count; i++)
        if (strcmp(entries[i].key, key) == 0) return entries[i].value;
    return NULL;
}

void fake_nvml_script(const char *script) {
    entry_count = 0;
    for (const char *line = script; line && *line && entry_count < MAX_ENTRIES;) {
        entry_t *entry = &entries[entry_count];
        if (sscanf(line, " %63[^ =] = %159[^\n]", entry->key, entry->value) == 2) entry_count++;
        line = strchr(line, '\n');
        if (line) line++;
    }
}

void fake_nvml_reset(void) {
    fake_nvml_script("");
    function_count = device_count = users = 0;
}

int fake_nvml_users(void) { return users; }

unsigned long fake_nvml_calls(const char *function) {
    unsigned long total = 0;
    for (int i = 0; i < function_count; i++)
        if (!*function || strcmp(functions[i].name, function) == 0) total += functions[i].calls;
    return total;
}

static void count_call(const char *function) {
    for (int i = 0; i < function_count; i++)
        if (strcmp(functions[i].name, function) == 0) { functions[i].calls++; return; }
    if (function_count == MAX_FUNCTIONS) abort();
    snprintf(functions[function_count].name, sizeof functions[0].name, "%s", function);
    functions[function_count++].calls = 1;
}

static void take_time(const char *function) {
    const char *value = value_of("sleep_ms.%s", function);
    if (!value) return;
    long ms = atol(value);
    struct timespec pause = {ms / 1000, (ms % 1000) * 1000000L};
    nanosleep(&pause, NULL);
}

static int number_of(const char *key, int otherwise) {
    const char *value = value_of("%s", key);
    return value ? atoi(value) : otherwise;
}

/* Every call begins here. */
static int enter(const char *function, device_t *device) {
    count_call(function);
    take_time(function);
    if (users == 0) return UNINITIALIZED;
    if (number_of("era", 0) != opened_in_era) return UNKNOWN;
    int code = number_of("error", SUCCESS);
    if (code) return code;
    if (device) {
        const char *error = value_of("%s.error", device->name);
        if (error) return atoi(error);
    }
    const char *fails = value_of("fails.%s", function);
    return fails ? atoi(fails) : SUCCESS;
}

/* Looks up a figure of a device, and scans its value. */
static int answer(const char *function, device_t *device, const char *figure, int count,
                  const char *format, ...) {
    int code = enter(function, device);
    if (code) return code;
    const char *value = device ? value_of("%s.%s", device->name, figure) : value_of("%s", figure);
    if (!value) return NOT_SUPPORTED;
    if (*value == '!') return atoi(value + 1);
    va_list arguments;
    va_start(arguments, format);
    int scanned = vsscanf(value, format, arguments);
    va_end(arguments);
    if (scanned != count) abort();
    return SUCCESS;
}

static int answer_text(const char *function, device_t *device, const char *figure, char *buffer,
                       unsigned length) {
    char found[160];
    int code = answer(function, device, figure, 1, "%159[^\n]", found);
    if (code) return code;
    if (strlen(found) >= length) return INSUFFICIENT_SIZE;
    strcpy(buffer, found);
    return SUCCESS;
}

/* The bytes of a handle stay the same for a place, as those of MIG devices do. */
static device_t *device_named(const char *name) {
    for (int i = 0; i < device_count; i++)
        if (strcmp(devices[i].name, name) == 0) return &devices[i];
    if (device_count == MAX_DEVICES) abort();
    snprintf(devices[device_count].name, sizeof devices[0].name, "%s", name);
    return &devices[device_count++];
}

/* ---- opening and closing ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    count_call(__func__);
    take_time(__func__);
    const char *file = getenv("FAKE_NVML_SCRIPT");
    if (file && entry_count == 0) {
        static char script[65536];
        FILE *stream = fopen(file, "r");
        if (stream) {
            script[fread(script, 1, sizeof script - 1, stream)] = 0;
            fclose(stream);
            fake_nvml_script(script);
        }
    }
    int code = number_of("init", number_of("error", SUCCESS));
    if (code) return code;
    if (users++ == 0) opened_in_era = number_of("era", 0);
    return SUCCESS;
}

int nvmlShutdown(void) {
    count_call(__func__);
    if (users == 0) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) { return code == SUCCESS ? "Success" : "Some error"; }

/* ---- which devices there are ---- */

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    return answer_text(__func__, NULL, "driver_version", version, length);
}

int nvmlDeviceGetCount_v2(unsigned *count) { return answer(__func__, NULL, "count", 1, "%u", count); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
    char name[32];
    snprintf(name, sizeof name, "%u", index);
    *device = device_named(name);
    return enter(__func__, *device);
}

int nvmlDeviceGetUUID(device_t *device, char *uuid, unsigned length) {
    return answer_text(__func__, device, "uuid", uuid, length);
}

int nvmlDeviceGetName(device_t *device, char *name, unsigned length) {
    return answer_text(__func__, device, "name", name, length);
}

int nvmlDeviceGetSerial(device_t *device, char *serial, unsigned length) {
    return answer_text(__func__, device, "serial", serial, length);
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(device_t *device, struct pci *pci) {
    memset(pci, 0, sizeof *pci);
    return answer(__func__, device, "pci", 3, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
}

int nvmlDeviceGetMigMode(device_t *device, unsigned *current, unsigned *pending) {
    int code = answer(__func__, device, "mig_mode", 1, "%u", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t *device, unsigned *count) {
    return answer(__func__, device, "mig_places", 1, "%u", count);
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t *card, unsigned index, device_t **device) {
    int code = enter(__func__, card);
    if (code) return code;
    char name[64];
    snprintf(name, sizeof name, "%s.mig.%u", card->name, index);
    if (!value_of("%s.uuid", name)) return NOT_FOUND;
    *device = device_named(name);
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(device_t *device, unsigned *id) {
    return answer(__func__, device, "gpu_instance", 1, "%u", id);
}

int nvmlDeviceGetComputeInstanceId(device_t *device, unsigned *id) {
    return answer(__func__, device, "compute_instance", 1, "%u", id);
}

/* ---- fast figures ---- */

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

/* "memory" is total, reserved, used. */
int nvmlDeviceGetMemoryInfo(device_t *device, struct memory *memory) {
    unsigned long long reserved = 0;
    int code = answer(__func__, device, "memory", 3, "%llu %llu %llu", &memory->total, &reserved,
                      &memory->used);
    memory->used += reserved;
    memory->free = memory->total - memory->used;
    return code;
}

int nvmlDeviceGetUtilizationRates(device_t *device, unsigned rates[2]) {
    return answer(__func__, device, "utilization", 2, "%u %u", &rates[0], &rates[1]);
}

int nvmlDeviceGetEncoderUtilization(device_t *device, unsigned *rate, unsigned *period) {
    *period = 167000;
    return answer(__func__, device, "encoder_utilization", 1, "%u", rate);
}

int nvmlDeviceGetDecoderUtilization(device_t *device, unsigned *rate, unsigned *period) {
    *period = 167000;
    return answer(__func__, device, "decoder_utilization", 1, "%u", rate);
}

int nvmlDeviceGetTemperature(device_t *device, unsigned sensor, unsigned *degrees) {
    (void)sensor;
    return answer(__func__, device, "temperature", 1, "%u", degrees);
}

int nvmlDeviceGetPowerUsage(device_t *device, unsigned *milliwatts) {
    return answer(__func__, device, "power", 1, "%u", milliwatts);
}

int nvmlDeviceGetTotalEnergyConsumption(device_t *device, unsigned long long *millijoules) {
    return answer(__func__, device, "energy", 1, "%llu", millijoules);
}

int nvmlDeviceGetFanSpeed(device_t *device, unsigned *percent) {
    return answer(__func__, device, "fan", 1, "%u", percent);
}

/* "clocks" is graphics, sm, memory, video. */
int nvmlDeviceGetClockInfo(device_t *device, unsigned kind, unsigned *mhz) {
    unsigned clocks[4];
    int code = answer(__func__, device, "clocks", 4, "%u %u %u %u", &clocks[0], &clocks[1],
                      &clocks[2], &clocks[3]);
    if (!code) *mhz = clocks[kind & 3];
    return code;
}

/* ---- encoders, processes, clock events ---- */

struct session {
    unsigned id, pid, vgpu, codec, width, height, fps, latency;
};

int nvmlDeviceGetEncoderCapacity(device_t *device, unsigned codec, unsigned *capacity) {
    char figure[32];
    snprintf(figure, sizeof figure, "encoder_capacity.%u", codec);
    return answer(__func__, device, figure, 1, "%u", capacity);
}

int nvmlDeviceGetEncoderStats(device_t *device, unsigned *count, unsigned *fps, unsigned *latency) {
    return answer(__func__, device, "encoder_stats", 3, "%u %u %u", count, fps, latency);
}

int nvmlDeviceGetEncoderSessions(device_t *device, unsigned *count, struct session *sessions) {
    unsigned there;
    int code = answer(__func__, device, "sessions", 1, "%u", &there);
    if (code) return code;
    if (!sessions) { *count = there; return SUCCESS; }
    if (*count < there) return INSUFFICIENT_SIZE;
    *count = there;
    for (unsigned i = 0; i < there; i++) {
        struct session *session = &sessions[i];
        const char *value = value_of("%s.session.%u", device->name, i);
        memset(session, 0, sizeof *session);
        if (!value || sscanf(value, "%u %u %u %u %u %u %u", &session->id, &session->pid,
                             &session->codec, &session->width, &session->height, &session->fps,
                             &session->latency) != 7) abort();
    }
    return SUCCESS;
}

struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };

static int processes(const char *function, device_t *device, const char *kind, unsigned *count,
                     struct process *list) {
    unsigned there;
    int code = answer(function, device, kind, 1, "%u", &there);
    if (code) return code;
    unsigned room = *count;
    *count = there;
    if (there == 0) return SUCCESS;
    if (!list || room < there) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < there; i++) {
        const char *value = value_of("%s.%s.%u", device->name, kind, i);
        list[i].gpu_instance = list[i].compute_instance = 0xFFFFFFFFu;
        if (!value || sscanf(value, "%u %llu %u %u", &list[i].pid, &list[i].memory,
                             &list[i].gpu_instance, &list[i].compute_instance) < 2) abort();
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t *device, unsigned *count,
                                            struct process *list) {
    return processes(__func__, device, "compute", count, list);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t *device, unsigned *count,
                                             struct process *list) {
    return processes(__func__, device, "graphics", count, list);
}

struct sample { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; };

/* "samples" is the number of entries; "samples.I" is pid, microseconds, sm, encoder, decoder. */
int nvmlDeviceGetProcessUtilization(device_t *device, struct sample *samples, unsigned *count,
                                    unsigned long long since) {
    unsigned there, newer = 0;
    int code = answer(__func__, device, "samples", 1, "%u", &there);
    if (code) return code;
    if (!samples) {
        *count = there;
        return there ? INSUFFICIENT_SIZE : SUCCESS;
    }
    for (unsigned i = 0; i < there; i++) {
        struct sample sample = {0};
        const char *value = value_of("%s.samples.%u", device->name, i);
        if (!value || sscanf(value, "%u %llu %u %u %u", &sample.pid, &sample.time, &sample.sm,
                             &sample.encoder, &sample.decoder) != 5) abort();
        if (sample.time > since) samples[newer++] = sample;
    }
    *count = newer;
    return newer ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t *device, unsigned long long *reasons) {
    return answer(__func__, device, "clock_events", 1, "%llx", reasons);
}

/* ---- slow figures ---- */

/* "ecc" is corrected, uncorrected. */
int nvmlDeviceGetTotalEccErrors(device_t *device, unsigned kind, unsigned counter,
                                unsigned long long *errors) {
    unsigned long long both[2];
    (void)counter;
    int code = answer(__func__, device, "ecc", 2, "%llu %llu", &both[0], &both[1]);
    if (!code) *errors = both[kind & 1];
    return code;
}

int nvmlDeviceGetRemappedRows(device_t *device, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed) {
    return answer(__func__, device, "remapped", 4, "%u %u %u %u", corrected, uncorrected, pending,
                  failed);
}

int nvmlDeviceGetCurrPcieLinkGeneration(device_t *device, unsigned *generation) {
    return answer(__func__, device, "pcie_generation", 1, "%u", generation);
}

int nvmlDeviceGetCurrPcieLinkWidth(device_t *device, unsigned *width) {
    return answer(__func__, device, "pcie_width", 1, "%u", width);
}

/* "pcie_rate" is kilobytes per second sent, received. */
int nvmlDeviceGetPcieThroughput(device_t *device, unsigned kind, unsigned *rate) {
    unsigned both[2];
    int code = answer(__func__, device, "pcie_rate", 2, "%u %u", &both[0], &both[1]);
    if (!code) *rate = both[kind & 1];
    return code;
}

#ifndef OLD_DRIVER /* what drivers had to learn over the years */

int nvmlDeviceGetMemoryInfo_v2(device_t *device, struct memory_v2 *memory) {
    if (memory->version != 0x02000028) return ARGUMENT_VERSION_MISMATCH;
    int code = answer(__func__, device, "memory", 3, "%llu %llu %llu", &memory->total,
                      &memory->reserved, &memory->used);
    memory->free = memory->total - memory->reserved - memory->used;
    return code;
}

struct temperature { unsigned version, sensor; int degrees; };

int nvmlDeviceGetTemperatureV(device_t *device, struct temperature *temperature) {
    if (temperature->version != 0x0100000C) return ARGUMENT_VERSION_MISMATCH;
    return answer(__func__, device, "temperature", 1, "%d", &temperature->degrees);
}

int nvmlDeviceGetCurrentClocksEventReasons(device_t *device, unsigned long long *reasons) {
    return answer(__func__, device, "clock_events", 1, "%llx", reasons);
}

struct field {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    unsigned long long value;
};

/* "pcie_bytes" is the type of the value in nvml.h, bytes sent, bytes received. */
int nvmlDeviceGetFieldValues(device_t *device, int count, struct field *fields) {
    unsigned type = 0;
    unsigned long long both[2] = {0, 0};
    int code = answer(__func__, device, "pcie_bytes", 3, "%u %llu %llu", &type, &both[0], &both[1]);
    if (code && code != NOT_SUPPORTED) return code;
    for (int i = 0; i < count; i++) {
        int known = fields[i].id == 197 || fields[i].id == 198;
        fields[i].code = code ? code : known ? SUCCESS : INVALID_ARGUMENT;
        fields[i].type = type;
        fields[i].value = known ? both[fields[i].id - 197] : 0;
    }
    return SUCCESS;
}

#endif

/* The table of the REST protocols' paths. */
#include "serve/proto_int.h"

static const struct route routes[] = {
    {HTTP_POST_, "/predict", proto_predict, "Predict from one row or many"},
    {HTTP_GET_, "/openapi.json", proto_openapi, "This description, made from the models that are loaded"},
    {HTTP_GET_, "/v2", proto_v2_server, "The server's name, version and extensions"},
    {HTTP_GET_, "/v2/health/live", proto_v2_live, "200 as long as the server answers"},
    {HTTP_GET_, "/v2/health/ready", proto_v2_ready, "200 once every model serves or has failed with its reason"},
    {HTTP_GET_, "/v2/systemsharedmemory/status", proto_v2_shm_status, "Regions of clients' shared memory"},
    {HTTP_GET_, "/v2/systemsharedmemory/region/{region}/status", proto_v2_shm_status, "One region"},
    {HTTP_POST_, "/v2/systemsharedmemory/region/{region}/register", proto_v2_shm_register, "Registers a region"},
    {HTTP_POST_, "/v2/systemsharedmemory/region/{region}/unregister", proto_v2_shm_unregister, "Gives a region back"},
    {HTTP_POST_, "/v2/systemsharedmemory/unregister", proto_v2_shm_unregister, "Gives all regions back"},
    {HTTP_GET_, "/v2/cudasharedmemory/status", proto_v2_cuda_status, "None: there are no GPUs here"},
    {HTTP_GET_, "/v2/cudasharedmemory/region/{region}/status", proto_v2_cuda_status, "404: there are no GPUs here"},
    {HTTP_POST_, "/v2/cudasharedmemory/region/{region}/register", proto_v2_cuda_register, "400: no GPUs here"},
    {HTTP_POST_, "/v2/cudasharedmemory/region/{region}/unregister", proto_v2_cuda_unregister, "Nothing to do"},
    {HTTP_POST_, "/v2/cudasharedmemory/unregister", proto_v2_cuda_unregister, "Nothing to do"},
    {HTTP_GET_, "/v2/trace/setting", proto_v2_trace_get, "Which requests are traced"},
    {HTTP_POST_, "/v2/trace/setting", proto_v2_trace_post, "Changes which requests are traced"},
    {HTTP_GET_, "/v2/models/{model}/trace/setting", proto_v2_trace_get, "Which requests to a model are traced"},
    {HTTP_POST_, "/v2/models/{model}/trace/setting", proto_v2_trace_post,
     "Changes which requests to a model are traced"},
    {HTTP_GET_, "/v2/logging", proto_v2_log_get, "What is logged"},
    {HTTP_POST_, "/v2/logging", proto_v2_log_post, "Changes what is logged"},
    {HTTP_POST_, "/v2/repository/index", proto_v2_index, "All models with their states"},
    {HTTP_POST_, "/v2/repository/{repository}/index", proto_v2_repository, "501: repositories have no names here"},
    {HTTP_POST_, "/v2/repository/{repository}/models/{model}/load", proto_v2_repository, "501, as above"},
    {HTTP_POST_, "/v2/repository/{repository}/models/{model}/unload", proto_v2_repository, "501, as above"},
    {HTTP_GET_, "/api/requests", proto_requests, "The latest requests that failed or were slow"},
    {HTTP_GET_, "/api/requests/{id}", proto_request, "Why a request failed or was slow"},
    {HTTP_GET_, "/metrics/triton", proto_nv_metrics, "Metrics under Triton's names"},
    {HTTP_GET_, "/v2/models/stats", proto_v2_stats, "Statistics of all models"},
    {HTTP_GET_, "/v2/models/{model}/stats", proto_v2_stats, "A model's statistics"},
    {HTTP_GET_, "/v2/models/{model}/versions/{version}/stats", proto_v2_stats, "A version's statistics"},
    {HTTP_GET_, "/v2/models/{model}", proto_v2_model, "A model's inputs and outputs"},
    {HTTP_GET_, "/v2/models/{model}/ready", proto_v2_model_ready, "200 when the model serves"},
    {HTTP_GET_, "/v2/models/{model}/config", proto_v2_config, "A model's configuration"},
    {HTTP_GET_, "/v2/models/{model}/sample", proto_v2_sample, "Requests that the model takes as they are"},
    {HTTP_POST_, "/v2/models/{model}/infer", proto_v2_infer, "Inference with JSON or binary tensors"},
    {HTTP_POST_, "/v2/models/{model}/generate", proto_generate, "Inference with a flat object of inputs"},
    {HTTP_POST_, "/v2/models/{model}/generate_stream", proto_generate_stream, "The same as server-sent events"},
    {HTTP_POST_, "/v2/models/{model}/versions/{version}/generate", proto_generate, "Inference by a version"},
    {HTTP_POST_, "/v2/models/{model}/versions/{version}/generate_stream", proto_generate_stream, "The same as events"},
    {HTTP_GET_, "/v2/models/{model}/versions/{version}", proto_v2_model, "A version's inputs and outputs"},
    {HTTP_GET_, "/v2/models/{model}/versions/{version}/ready", proto_v2_model_ready, "200 when the version serves"},
    {HTTP_GET_, "/v2/models/{model}/versions/{version}/config", proto_v2_config, "A version's configuration"},
    {HTTP_GET_, "/v2/models/{model}/versions/{version}/sample", proto_v2_sample,
     "Requests that the version takes as they are"},
    {HTTP_POST_, "/v2/models/{model}/versions/{version}/infer", proto_v2_infer, "Inference by a version"},
};

const struct route *proto_routes(size_t *len)
{
    *len = ARRAY_LEN(routes);
    return routes;
}

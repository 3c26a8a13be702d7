//! Whether the API server calls this machine's node ready, and says so since k3s was started. Pure.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// Clocks of one machine, but seconds are cut off in what the kubelet writes.
const GRANULARITY: i64 = 1;

/// Reads a Node object. `since` is when k3s was started: the kubelet of an earlier run may have left "ready" behind.
pub fn ready(node: &Value, since: Timestamp) -> Result<(), String> {
    let conditions = node["status"]["conditions"].as_array();
    let Some(condition) = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready")
    else {
        return Err("the node has not reported yet".to_owned());
    };
    let beat = condition["lastHeartbeatTime"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    if beat.is_none_or(|beat| beat.as_second() + GRANULARITY < since.as_second()) {
        return Err("the kubelet has not reported since k3s was started".to_owned());
    }
    match condition["status"].as_str() {
        Some("True") => Ok(()),
        _ => Err(condition["message"].as_str().unwrap_or("the node is not ready").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(status: &str, beat: &str) -> Value {
        serde_json::json!({"status": {"conditions": [
            {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": beat},
            {"type": "Ready", "status": status, "message": "cni plugin not initialized", "lastHeartbeatTime": beat},
        ]}})
    }

    #[test]
    fn only_a_report_of_this_run_counts() {
        let since: Timestamp = "2025-01-01T12:00:00.7Z".parse().unwrap();
        assert_eq!(ready(&node("True", "2025-01-01T12:00:00Z"), since), Ok(()));
        assert!(ready(&node("True", "2025-01-01T11:59:50Z"), since).unwrap_err().contains("since k3s"));
        assert!(ready(&node("False", "2025-01-01T12:00:09Z"), since).unwrap_err().contains("cni plugin"));
        assert!(ready(&serde_json::json!({}), since).is_err());
    }
}

{{- define "history.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}
{{- define "history.selector" -}}
app.kubernetes.io/name: dosimeter-history
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "history.labels" -}}
{{ include "history.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "history.host" -}}
{{- trimPrefix "https://" .Values.pages.publicUrl -}}
{{- end }}
{{- define "history.telemetry" -}}
{{- $of := .Values.telemetry -}}
{{- $found := dict "endpoint" $of.endpoint "timeout" $of.timeout -}}
{{- if and (or $of.headersFile $of.clientCert) (not (hasPrefix "https://" $of.endpoint)) -}}
{{- fail "telemetry.endpoint: a credential would be sent in the clear\n  hint: `https://…`, or neither headersFile nor clientCert" -}}
{{- end -}}
{{- range $name, $key := dict "headersFile" "headers-file" "ca" "ca" "clientCert" "client-cert" "clientKey" "client-key" -}}
{{- with get $of $name -}}
{{- if not $of.filesSecret -}}
{{- fail (printf "telemetry.%s: `%s` is in no Secret\n  hint: name the Secret under telemetry.filesSecret" $name .) -}}
{{- end -}}
{{- $_ := set $found $key (printf "/etc/dosimeter/telemetry/%s" .) -}}
{{- end -}}
{{- end -}}
{{- with $of.resource -}}{{- $_ := set $found "resource" . -}}{{- end -}}
{{- toJson $found -}}
{{- end }}
{{- define "history.probe" -}}
httpGet:
  path: /api/v1/healthz
  port: http
  httpHeaders: [{name: Host, value: {{ include "history.host" . | quote }}}]
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 6
{{- end }}
